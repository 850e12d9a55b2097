"""What only asking shows: devices, the policy's files, servers and their keys, directories.

``--dry_run`` asks all of it, each question with a time limit, and creates nothing. A policy
that must still be downloaded is looked up, not fetched.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from skillrl import predecessors, presets
from skillrl.config import Config
from skillrl.errors import SkillRLError
from skillrl.run import RunDirectory

if TYPE_CHECKING:
    import jax

    from skillrl.models.config import ModelConfig

T = TypeVar("T")

ANSWER = 5.0
"""Seconds that a server has to answer."""

_DEVICES = 120.0  # seconds: a pod's TPUs take a while to be found
_ASKS_TEACHER = ("train", "distill", "sft", "rl")
_EMBEDS = ("train", "distill", "sft", "rl", "evaluate")


@dataclasses.dataclass(frozen=True)
class Found:
    """What was asked, and what stands in the way.

    Attributes:
      problems: what the start would refuse, or fail at, each with its remedy.
      notes: what is worth knowing and stops nothing.
      model: sizes of the policy, where they can be known without a download.
      mesh: the devices, where there are enough.
    """

    problems: list[str]
    notes: list[str]
    model: ModelConfig | None
    mesh: jax.sharding.Mesh | None


def hurried(config: Config) -> Config:
    """`config` with the time limits of a probe for the servers that an environment asks."""
    env = config.env
    server = dataclasses.replace(env.server, timeout=min(ANSWER, env.server.timeout), retries=0)
    search = dataclasses.replace(env.search, timeout=min(ANSWER, env.search.timeout), retries=0)
    return dataclasses.replace(config, env=dataclasses.replace(env, server=server, search=search))


def ask(name: str, config: Config, workdir: Path, chosen: Mapping[str, Any]) -> Found:
    """Asks everything that the command `name` needs; see `Found`."""
    problems: list[str] = []
    notes: list[str] = []
    local = config.model.policy == "local" and name != "distill"

    @contextlib.contextmanager
    def noting() -> Iterator[None]:
        try:
            yield
        except SkillRLError as error:
            problems.append(str(error))

    with noting():
        writable(workdir, "--workdir")
    if chosen.get("output"):
        with noting():
            writable(Path(chosen["output"]).parent, "--output")
    if name == "evaluate" and local:
        with noting():
            predecessors.trained(RunDirectory(workdir, config, lock=False), chosen["checkpoint"])
    mesh = model = None
    if local:
        with noting():
            mesh = _in_time(lambda: _mesh(config), _DEVICES, "JAX finds no device")
        with noting():
            model = _policy(config, notes)
        if model is not None and config.model.adapter_path:
            with noting():
                _adapter(config.model.adapter_path, model)
        if mesh is not None and model is not None:
            with noting():
                _attention(config, model, mesh)
    for label, url, key, wanted in _services(name, config):
        with noting():
            _service(label, url, key, wanted, notes)
    for url in config.env.search.urls if config.env.name == "search" else ():
        if config.env.search.retriever == "http":
            with noting():
                _retriever(url, config)
    return Found(problems, notes, model, mesh)


def prompts_fit(name: str, config: Config, workdir: Path, chosen: Mapping[str, Any]) -> None:
    """Refuses a bank whose skills are too long for prompts, where no server must be asked for it.

    Raises:
      SkillRLError: they do not fit; says what to set.
    """
    asks = config.model.embedder == "openai" and config.skill_retrieval.order != "stored"
    if name not in ("sft", "rl") or config.model.policy != "local" or asks:
        return
    from skillrl.phases import prompts
    from skillrl.session import open_session

    with open_session(config, workdir, seed=config.seed, lock=False) as run:
        bank = predecessors.bank(run.run, chosen["skill_bank"])
        prompts.check_fit(run, bank, prompts.some(run.suite.tasks("train")))


def writable(path: Path, label: str) -> None:
    """Refuses a directory that cannot be made or written to; makes none.

    Raises:
      SkillRLError: names the directory above it that is in the way.
    """
    there = path.absolute()
    while not os.path.lexists(there):
        there = there.parent
    if not there.is_dir():
        raise SkillRLError(f"{label}={path}: {there} is not a directory. Name another place.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise SkillRLError(
            f"{label}={path}: {there} cannot be written to. Name a directory that you may write to."
        )


def free_space(path: Path) -> float:
    """Bytes that are free where `path` is, or would be."""
    there = path.absolute()
    while not there.exists():
        there = there.parent
    return float(shutil.disk_usage(there).free)


def _mesh(config: Config) -> jax.sharding.Mesh:
    from skillrl.parallel.mesh import make_mesh

    try:
        return make_mesh(config.mesh.data, config.mesh.fsdp, config.mesh.tensor)
    except RuntimeError as error:  # of a backend that JAX cannot start
        raise SkillRLError(
            f"JAX cannot use the devices that it is told to: {error}. Correct JAX_PLATFORMS, or "
            "install JAX for this accelerator (BUILD.md)."
        ) from None


def _policy(config: Config, notes: list[str]) -> ModelConfig | None:
    """Sizes of the policy, its files looked through; None where it must be fetched first."""
    from skillrl.models import hub

    model = config.model
    if model.policy_path:
        return _directory(hub.resolve(presets.resolve_path(model.policy_path), ""))
    cached = hub._cached(model.policy_model_id) if model.policy_model_id else None
    if cached is not None or not model.policy_model_id:
        return _directory(cached or hub.resolve(None, model.policy_model_id))
    sizes = _in_time(
        lambda: _on_hub(model.policy_model_id),
        2 * ANSWER,
        f"the hub does not answer about {model.policy_model_id}",
    )
    notes.append(f"{model.policy_model_id} will be downloaded from the hub first")
    return sizes


def _directory(directory: Path) -> ModelConfig:
    """Reads all of a checkpoint but the numbers: config, tokenizer, names and shapes."""
    from skillrl.models import weights
    from skillrl.models.tokenizer import Tokenizer

    sizes = weights.read_config(directory)
    Tokenizer.load(directory)
    weights.check(directory, sizes)
    return sizes


def _adapter(directory: str, model: ModelConfig) -> None:
    from skillrl.models import lora

    lora.load(directory, model)


def _on_hub(model_id: str) -> ModelConfig:
    """Sizes of a policy that is only on the hub, from its config.json."""
    import httpx

    from skillrl.clients import open_client
    from skillrl.http import bearer
    from skillrl.models import weights

    base = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    remedy = (
        "Set model.policy_path to a local directory, set HF_HOME to a cache that holds it, or "
        "check the network, the name and the access token (HF_TOKEN)."
    )
    start = f"model {model_id!r} is not in the local Hugging Face cache"
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise SkillRLError(f"{start}, and HF_HUB_OFFLINE keeps it from being fetched. {remedy}")
    token = os.environ.get("HF_TOKEN", "")
    try:
        with open_client(base) as client:
            answer = client.get(
                f"{base}/{model_id}/resolve/main/config.json",
                headers=bearer(token),
                timeout=ANSWER,
                follow_redirects=True,
            )
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        raise SkillRLError(
            f"{start}, and {base} cannot be asked ({type(error).__name__}). {remedy}"
        ) from None
    if answer.status_code != 200:
        raise SkillRLError(f"{start}, and {base} answers {answer.status_code}. {remedy}")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "config.json").write_bytes(answer.content)
        return weights.read_config(folder)


def _attention(config: Config, model: ModelConfig, mesh: jax.sharding.Mesh) -> None:
    from skillrl.models.attention import check_attention

    settings = config.model
    check_attention(
        dataclasses.replace(model, dtype=settings.dtype, attention=settings.attention), mesh
    )


def _services(name: str, config: Config) -> Iterator[tuple[str, str, str, str]]:
    """(label, address, API key, model) of the OpenAI-compatible servers that `name` asks."""
    from skillrl.openai_server import find_key

    model = config.model
    for label, used, kind, base, key, wanted in (
        ("policy", name != "distill", model.policy, model.policy_api_base,
         model.policy_api_key, model.policy_model_id),
        ("teacher", name in _ASKS_TEACHER, model.teacher, model.teacher_api_base,
         model.teacher_api_key, model.teacher_model_id),
        ("embedding", name in _EMBEDS, model.embedder, model.embedding_api_base,
         model.embedding_api_key, model.embedding_model_id),
    ):  # fmt: skip
        if used and kind == "openai":
            yield label, base, find_key(base, key, f"SKILLRL_{label.upper()}_API_KEY"), wanted


def _service(label: str, base: str, key: str, wanted: str, notes: list[str]) -> None:
    """Asks a server for its models: shows whether it is there and takes the key."""
    import httpx

    from skillrl.clients import open_client
    from skillrl.http import bearer, public_url

    shown = public_url(base.rstrip("/"))
    variable = f"SKILLRL_{label.upper()}_API_KEY"
    if not key and urlsplit(base).hostname == "api.openai.com":
        raise SkillRLError(
            f"{label}: {shown} needs an API key, and there is none. Set {variable} (or "
            "OPENAI_API_KEY), or choose another server or a simulated one."
        )

    def get() -> Any:
        with open_client(base) as client:
            return client.get(base.rstrip("/") + "/models", headers=bearer(key), timeout=ANSWER)

    try:
        answer = _in_time(get, 2 * ANSWER, f"{label}: {shown} does not answer in time")
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        raise SkillRLError(
            f"{label}: {shown} does not answer ({type(error).__name__}). Start the server there, "
            f"or correct model.{label}_api_base."
        ) from None
    if answer.status_code in (401, 403):
        raise SkillRLError(
            f"{label}: {shown} refuses the API key (status {answer.status_code}). Set {variable} "
            "to one that is valid there."
        )
    if answer.status_code >= 500:
        raise SkillRLError(
            f"{label}: {shown} is in trouble (status {answer.status_code}); look at its log."
        )
    try:
        names = [row["id"] for row in answer.json()["data"]]
    except (ValueError, KeyError, TypeError, RecursionError):
        names = []  # a server need not list its models
    if names and wanted not in names:
        listed = ", ".join(map(str, names[:5]))
        notes.append(f"{label}: {shown} does not list {wanted!r}, but {listed}")


def _retriever(url: str, config: Config) -> None:
    from skillrl.envs.search.remote import RemoteRetriever

    asked = RemoteRetriever(url, dialect=config.env.search.dialect, timeout=ANSWER, retries=0)
    late = f"env.search.urls: {url} does not answer in time"
    _in_time(lambda: asked.search("Who wrote Emma?", 1), 2 * ANSWER, late)


def _in_time(work: Callable[[], T], seconds: float, late: str) -> T:
    """What `work` returns or raises; a SkillRLError that says `late` where it takes too long."""
    done: list[Callable[[], T]] = []

    def run() -> None:
        try:
            value = work()
            done.append(lambda: value)
        except BaseException as error:
            caught = error

            def again() -> T:
                raise caught

            done.append(again)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if not done:
        raise SkillRLError(f"{late} ({seconds:g} s).")
    return done[0]()
