"""Shared by all tests: no network keys, parsed absl flags, and a tiny environment."""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import jax
import pytest
from absl import flags
from jax.experimental.compilation_cache import compilation_cache

import skillrl
from skillrl import api
from skillrl.config import presets
from skillrl.config.settings import Config
from skillrl.envs import base
from skillrl.models.config import TransformerConfig
from skillrl.types import Observation, StepResult, Task

if TYPE_CHECKING:
    from skillrl.models.tokenizer import Tokenizer

MOST_COMPILED = 2**28
"""Bytes of compiled programs that are kept between sessions; one session makes 24 million."""

# How fast a machine is decides no test.
hypothesis.settings.register_profile(
    "untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("untimed")

LONGEST = (
    "pipeline/test_resume.py",  # makes what other files of its directory wait for
    "training/test_update.py",
    "models/test_fused.py",
    "training/test_partition.py",
    "tests/test_api.py",
    "models/test_transformer.py",
    "inference/test_local.py",
    "webshop/test_shop_controls.py",
    "pipeline/test_evaluate.py",
    "pipeline/test_exam_run.py",
    "pipeline/test_phases.py",
    "models/test_attention.py",
    "models/test_lora.py",
    "models/test_quantised.py",
    "pipeline/test_bad_input.py",
    "pipeline/test_durability.py",
    "webshop/test_webshop_generated.py",
    "inference/test_sampler.py",
)
"""Files of ten seconds and more, with the directory that they are in."""

# Tests compile much and run little of it, so LLVM optimises less, in child processes too; what XLA
# makes of a program stays as it is. CI sets 0 and runs what compiles most once more.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
jax.config.update(
    "jax_disable_most_optimizations", os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] == "1"
)

flags.FLAGS.mark_as_parsed()  # libraries read absl flags; pytest's arguments are not theirs


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Names tests by what is the same in every process: packed bytes may hold the time."""
    return argname if isinstance(val, bytes) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begins with the files that take longest, so that no process has one of them at the end."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get("/".join(item.path.parts[-2:]), len(places)))


def _compiled(config: pytest.Config) -> Path:
    """Returns a directory of pytest's cache, which `pytest --cache-clear` empties."""
    return config.rootpath / ".pytest_cache" / "d" / "compiled"


def pytest_configure(config: pytest.Config) -> None:
    """Empties the directory of compiled programs when it has grown large."""
    if "PYTEST_XDIST_WORKER" in os.environ or not _compiled(config).is_dir():
        return
    if sum(entry.stat().st_size for entry in os.scandir(_compiled(config))) > MOST_COMPILED:
        shutil.rmtree(_compiled(config))


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test may pick up, or send, a real API key."""
    for name in ("POLICY", "TEACHER", "EMBEDDING"):
        monkeypatch.delenv(f"SKILLRL_{name}_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@pytest.fixture(autouse=True, scope="session")
def compiled(request: pytest.FixtureRequest) -> Iterator[Path]:
    """Directory in which this and other processes, and later sessions, keep what they compiled."""
    directory = _compiled(request.config)
    directory.mkdir(parents=True, exist_ok=True)
    settings = {
        "jax_compilation_cache_dir": str(directory),
        "jax_persistent_cache_min_compile_time_secs": 0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    before = {name: getattr(jax.config, name) for name in settings}
    for name, value in settings.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()
    yield directory
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Compiled programs and indexed games stay out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


class ToyEnvironment:
    """One step: the action that repeats the goal wins."""

    def reset(self, task: Task) -> Observation:
        self._goal = task.goal
        return Observation(f"Say {task.goal}.", ("yes", "no"))

    def step(self, action: str) -> StepResult:
        won = action == self._goal
        return StepResult(
            observation=Observation("The end."),
            done=True,
            won=won,
            reward=float(won),
            score=float(won),
        )

    def close(self) -> None:
        pass


class ToyExpert:
    """Repeats the goal."""

    def __init__(self, goal: str):
        self._goal = goal

    def act(self, observation: Observation) -> base.Move:
        return base.Move("I say it", self._goal)


class ToySuite:
    """Four one-step tasks per split, in two categories."""

    name = "toy"
    role = "You answer yes or no."
    categories = {"affirm": "Affirm", "deny": "Deny"}  # noqa: RUF012
    simulated = "toy tasks"
    max_steps = 1

    def __init__(self, config: object):
        self.config = config

    def tasks(self, split: str) -> list[Task]:
        answers = ["yes", "no", "yes", "no"]
        category = {"yes": "affirm", "no": "deny"}
        return [
            Task(id=f"{split}/{i:04d}", split=split, category=category[answer], goal=answer)
            for i, answer in enumerate(answers)
        ]

    def make(self) -> ToyEnvironment:
        return ToyEnvironment()

    def expert(self, task: Task) -> ToyExpert:
        return ToyExpert(task.goal)


@pytest.fixture
def toy_env() -> Iterator[str]:
    """Name of a registered environment that costs nothing."""
    with base.registered(toy=ToySuite):
        yield "toy"


@pytest.fixture(scope="module")
def few_shapes() -> Iterator[Config]:
    """Default settings of `import skillrl` that compile fewer programs, with shorter episodes."""
    sizes = [
        "rollout.prefix_buckets=[448]",
        "rollout.suffix_buckets=[448]",
        "train_batch.row_buckets=[184]",
        "train_batch.tokens=20000",
        "env.max_steps=20",
    ]
    config = presets.resolve("alfworld", overrides=sizes).config

    @functools.wraps(api.default_config)
    def default_config(env: str = "alfworld") -> Config:
        return config

    with pytest.MonkeyPatch.context() as patch:
        for home in (api, skillrl):
            patch.setattr(home, "default_config", default_config)
        yield config


# --- one tiny policy for all tests that compile ---------------------------------------


@pytest.fixture(scope="session")
def tiny_config() -> TransformerConfig:
    """Sizes of a Qwen2 policy that compiles in a second."""
    return TransformerConfig(
        vocab_size=64,
        hidden_size=16,
        intermediate_size=32,
        num_layers=2,
        num_heads=2,
        num_kv_heads=1,
        head_dim=8,
        rope_theta=1000.0,
    )


@pytest.fixture(scope="session")
def tiny_params(tiny_config: TransformerConfig) -> dict:
    """Parameters with spread-out logits; biases and norms are not at their neutral values."""
    return spread_params(tiny_config)


@functools.lru_cache
def _shapes(config: TransformerConfig) -> dict:
    from skillrl.models.transformer import init

    return jax.eval_shape(lambda: init(jax.random.key(0), config))


def spread_params(config: TransformerConfig, seed: int = 0) -> dict:
    """Random parameters, far from initialisation, so that every part shows in the logits."""
    import numpy as np

    rng = np.random.default_rng(seed)

    def make(path: tuple, leaf: jax.ShapeDtypeStruct) -> jax.Array:
        centre = 1.0 if path[-1].key == "scale" else 0.0
        return jax.device_put((centre + 0.3 * rng.normal(size=leaf.shape)).astype(np.float32))

    return jax.tree_util.tree_map_with_path(make, _shapes(config))


@pytest.fixture(scope="session")
def one_device() -> jax.sharding.Mesh:
    """The mesh 1 x 1 x 1."""
    import jax

    from skillrl.parallel.mesh import make_mesh

    return make_mesh(devices=jax.devices()[:1])


@pytest.fixture(scope="session")
def tiny_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """A byte-fallback tokeniser that knows the words of the prompts."""
    from launchers.tiny_policies import tiny_tokenizer
    from skillrl.models.tokenizer import Tokenizer

    corpus = [
        "You act in a household. Task: put a mug in the safe. General skills: Skills for this task:"
        " Mistakes to avoid: Think briefly inside <think> </think>, then give one admissible action"
        " inside <action> </action>. Observation 1: You are in a room. Admissible actions: go to"
        " desk 1 look open safe 1 Done: take mug 2 from desk 1"
    ]
    path = tmp_path_factory.mktemp("tokenizer")
    tiny_tokenizer.build(corpus, path, vocab_size=360)
    return Tokenizer.load(path)
