"""A whole run in miniature: a policy made on the fly, few episodes, one compiled shape each."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from safetensors.numpy import load_file

from launchers.tiny_policies import tiny_tokenizer
from skillrl.agent.agent import render_response
from skillrl.agent.prompt import PromptConfig, render_prefix, render_suffix
from skillrl.cli import main
from skillrl.config.settings import Config
from skillrl.envs import make_suite
from skillrl.io.files import read_json
from skillrl.models import parameters, weights
from skillrl.models.config import TransformerConfig
from skillrl.models.policy import Model
from skillrl.phases.build import open_mesh, open_model, open_player, open_retriever
from skillrl.phases.session import Session, open_session
from skillrl.rollouts.player import Player
from skillrl.teacher.simulated import vocabulary
from skillrl.types import Observation

ROOT = Path(__file__).resolve().parents[2]
SEED = 5  # its first iterations share a category, so that an evolved skill is seen again

SETTINGS: dict[str, Any] = {
    "env": {"max_steps": 9},
    "collect": {"episodes": 6, "expert_episodes": 36, "expert_slips": 0.0},
    "distill": {"max_trajectories_per_category": 2},
    "sft": {"batch_size": 12, "epochs": 2, "learning_rate": 3e-3, "num_examples": 36},
    "rl": {
        "batch_size": 4,
        "group_size": 2,
        "minibatches": 2,
        "training_epochs": 4,
        "learning_rate": 1e-3,
        "max_prompt_length": 1024,
        "max_response_length": 24,
    },
    "skill_retrieval": {"top_k": 6, "similarity_threshold": -1, "general_top_k": 8},
    "agent": {"history_length": 1, "action_history": 8, "max_observation_tokens": 128},
    "rollout": {"slots": 4, "prefix_buckets": [640], "suffix_buckets": [384]},
    "train_batch": {"tokens": 848, "members": 2, "row_buckets": [424], "response_buckets": [40]},
    "evolution": {"validation_interval": 2, "min_episodes": 1},
    "evaluation": {"temperature": 0, "max_tasks": 3, "quick_tasks": 2, "quick_interval": 2},
    "checkpoint": {"interval": 3},  # between two evolutions, so that a resume reads rollouts again
}

MODEL = TransformerConfig(
    hidden_size=16, intermediate_size=32, num_layers=1, num_heads=2, num_kv_heads=1, head_dim=8
)


def corpus() -> Iterator[str]:
    """Prompts and responses of some training tasks, and the teacher's words."""
    suite = make_suite("alfworld", Config().env)
    environment = suite.make()
    for task in suite.tasks("train")[:12]:
        role, user = render_prefix(suite.role, task.goal, skills=())
        now: Observation = environment.reset(task)
        yield f"{role}\n{user}" + render_suffix(
            1, now.text, admissible=now.admissible, past=(), config=PromptConfig()
        )
        yield from (render_response("I go on", action) for action in now.admissible)
    yield from vocabulary()


def make_policy(
    directory: Path, config: TransformerConfig = MODEL, *, vocab_size: int = 768
) -> Path:
    """A Hugging Face directory with random weights and a tokenizer that knows the words."""
    size = tiny_tokenizer.build(corpus(), directory, vocab_size=vocab_size)
    config = dataclasses.replace(config, vocab_size=size)
    random = np.random.default_rng(0)
    params = parameters.unflatten(
        {
            path: jnp.asarray((path[-1] == "scale") + 0.1 * random.normal(size=spec.shape), "f4")
            for path, spec in parameters.specs(config).items()
        }
    )
    weights.save(directory / "model", params, config, tokenizer_dir=directory)
    return directory / "model"


def merged(base: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Two levels of settings, `other` on top."""
    return {name: {**base.get(name, {}), **other.get(name, {})} for name in {**base, **other}}


def write(folder: Path, settings: Mapping[str, Any]) -> Path:
    """Writes settings into a new file of a folder."""
    file = folder / f"settings{len(list(folder.glob('settings*')))}.json"
    file.write_text(json.dumps(settings))
    return file


def prepare(folder: Path, settings: Mapping[str, Any]) -> list[str]:
    """Makes a policy and a cache of programs for processes; flags of a run with these settings."""
    os.environ |= {
        "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    policy = make_policy(folder / "made")
    file = write(folder, merged(settings, {"model": {"policy_path": str(policy)}}))
    flags = ["--env=alfworld", "--mock", f"--config={file}", f"--seed={SEED}"]
    return [*flags, "--set=logging.progress=false"]


def run(*arguments: str | Path) -> tuple[int, str, str]:
    """Status, stdout and stderr of a command in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main.main([str(argument) for argument in arguments])
    return status, out.getvalue(), err.getvalue()


def played(path: Path) -> list[Any]:
    """What was done in the episodes of a file, without log-probabilities."""
    return [
        [
            row["id"],
            row["won"],
            row["skills"],
            row["prefix_ids"],
            [(step["suffix_ids"], step["response_ids"], step["action"]) for step in row["steps"]],
        ]
        for row in rows(path)
    ]


def gap(one: Path, other: Path) -> float:
    """The largest difference of two policies, by the largest entry of each tensor."""
    a, b = (load_file(path / "policy" / "model.safetensors") for path in (one, other))
    assert a.keys() == b.keys()
    return max(float(np.abs(a[name] - b[name]).max() / np.abs(a[name]).max()) for name in a)


@contextlib.contextmanager
def opened(path: Path, config: Config | None = None) -> Iterator[tuple[Session, Model, Player]]:
    """A session that reads the run in `path`, its policy without weights, and what plays."""
    config = config or Config.from_dict(read_json(path / "config.json"))
    with open_session(config, path, lock=False) as run:
        model = open_model(config, open_mesh(config))
        yield run, model, open_player(run, model, open_retriever(run, model))


STOPPING = """
import os, signal, sys
from skillrl.cli import main
from skillrl.phases.run_directory import Metrics

phase, step, number, *arguments = sys.argv[1:]
write = Metrics.write
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it

def write_and_stop(self, *row):
    written = write(self, *row)
    if row[:2] == (phase, int(step)):
        os.kill(os.getpid(), int(number))
    return written

Metrics.write = write_and_stop
sys.exit(main.main(arguments))
"""


def run_until(
    phase: str, step: int, signal: int, *arguments: str | Path, cache: Path
) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own that gets `signal` right after a row of metrics."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    command = [sys.executable, "-c", STOPPING, phase, step, signal, *arguments]
    return subprocess.run(
        [*map(str, command)], capture_output=True, text=True, env=environment, timeout=300
    )


def contents(directory: Path) -> dict[str, bytes]:
    """Every file below a directory."""
    files = (path for path in sorted(directory.rglob("*")) if path.is_file())
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in files}


def rows(path: Path) -> list[dict[str, Any]]:
    """Rows of a JSON lines file."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]
