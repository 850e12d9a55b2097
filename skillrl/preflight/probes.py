"""Sends servers short requests, with a time limit, that show whether they can be used."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from skillrl.config.settings import Config
from skillrl.errors import SkillRLError

if TYPE_CHECKING:
    from skillrl.models.config import TransformerConfig

T = TypeVar("T")

TIME_LIMIT = 5.0
"""Seconds that a server has to answer."""

_ASKS_TEACHER = ("train", "distill", "sft", "rl")
_EMBEDS = ("train", "distill", "sft", "rl", "evaluate")


def sizes_on_hub(model_id: str) -> TransformerConfig:
    """Reads the sizes of a policy that is only on the hub, from its config.json there.

    Raises:
      SkillRLError: the hub may not be asked, does not answer, or has no such model.
    """
    import httpx

    from skillrl.models import weights
    from skillrl.net.clients import open_client
    from skillrl.net.http import bearer

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
                timeout=TIME_LIMIT,
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


def services(command: str, config: Config) -> Iterator[tuple[str, str, str, str]]:
    """Yields (use, address, API key, model) of each OpenAI-compatible server that is asked."""
    from skillrl.net.openai_client import find_key

    model = config.model
    for use, needed, kind, base, key, wanted in (
        ("policy", command != "distill", model.policy, model.policy_api_base,
         model.policy_api_key, model.policy_model_id),
        ("teacher", command in _ASKS_TEACHER, model.teacher, model.teacher_api_base,
         model.teacher_api_key, model.teacher_model_id),
        ("embedding", command in _EMBEDS, model.embedder, model.embedding_api_base,
         model.embedding_api_key, model.embedding_model_id),
    ):  # fmt: skip
        if needed and kind == "openai":
            yield use, base, find_key(base, key, use), wanted
    rollout = config.rollout
    if command != "distill" and rollout.engine != "local":
        key = find_key(rollout.api_base, model.policy_api_key, "policy")
        base = rollout.api_base.rstrip("/").removesuffix("/v1") + "/v1"
        yield "rollout", base, key, rollout.served_model


def check_service(use: str, base: str, *, key: str, model: str) -> list[str]:
    """Asks a server for its models, which shows whether it is there and takes the key.

    Args:
      use: what the server is for: ``policy``, ``teacher``, ``embedding`` or ``rollout``.
      base: its base address.
      key: the API key, or "".
      model: the model that will be asked for.

    Returns:
      What is worth knowing and stops nothing.

    Raises:
      SkillRLError: it does not answer, is in trouble, or refuses the key.
    """
    import httpx

    from skillrl.net.clients import open_client
    from skillrl.net.http import bearer, public_url
    from skillrl.net.openai_client import key_variable

    shown = public_url(base.rstrip("/"))
    variable = key_variable("policy" if use == "rollout" else use)
    address = "rollout.api_base" if use == "rollout" else f"model.{use}_api_base"
    if not key and urlsplit(base).hostname == "api.openai.com":
        raise SkillRLError(
            f"{use}: {shown} needs an API key, and there is none. Set {variable} (or "
            "OPENAI_API_KEY), or choose another server or a simulated one."
        )

    def get() -> Any:
        with open_client(base) as client:
            return client.get(base.rstrip("/") + "/models", headers=bearer(key), timeout=TIME_LIMIT)

    try:
        answer = in_time(get, 2 * TIME_LIMIT, f"{use}: {shown} does not answer in time")
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        raise SkillRLError(
            f"{use}: {shown} does not answer ({type(error).__name__}). Start the server there, "
            f"or correct {address}."
        ) from None
    if answer.status_code in (401, 403):
        raise SkillRLError(
            f"{use}: {shown} refuses the API key (status {answer.status_code}). Set {variable} "
            "to one that is valid there."
        )
    if answer.status_code >= 500:
        raise SkillRLError(
            f"{use}: {shown} is in trouble (status {answer.status_code}); look at its log."
        )
    try:
        names = [row["id"] for row in answer.json()["data"]]
    except (ValueError, KeyError, TypeError, RecursionError):
        names = []  # a server need not list its models
    if names and model not in names:
        listed = ", ".join(map(str, names[:5]))
        return [f"{use}: {shown} does not list {model!r}, but {listed}"]
    return []


def check_retriever(url: str, config: Config) -> None:
    """Asks a ``/retrieve`` server one question.

    Raises:
      SkillRLError: it does not answer, or not as such a server does.
    """
    from skillrl.envs.search.remote import RemoteRetriever

    asked = RemoteRetriever(url, dialect=config.env.search.dialect, timeout=TIME_LIMIT, retries=0)
    late = f"env.search.urls: {url} does not answer in time"
    in_time(lambda: asked.search("Who wrote Emma?", 1), 2 * TIME_LIMIT, late)


def in_time(work: Callable[[], T], seconds: float, late: str) -> T:
    """Calls `work` in a thread, and returns or raises what it does.

    Raises:
      SkillRLError: it took more than `seconds`; the message begins with `late`.
    """
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
