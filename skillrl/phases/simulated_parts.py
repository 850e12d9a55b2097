"""Says in words which parts of a run are real and which are simulated."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from skillrl.config.settings import Config

ALWAYS_REAL = "game rules, transformer, sampling, training, skill bank, checkpoints, evaluation"
"""What no preset simulates."""


@dataclasses.dataclass(frozen=True)
class Part:
    """Describes one part of a run.

    Attributes:
      name: environment, policy, teacher or embedder.
      what: what it is, e.g. ``o3 at https://api.openai.com/v1``.
      simulated: it stands in for the real thing.
    """

    name: str
    what: str
    simulated: bool


def list_parts(config: Config, environment_simulated: str) -> tuple[Part, ...]:
    """Lists the parts of a run.

    Args:
      config: the settings.
      environment_simulated: `Suite.simulated` of the environment: what of it is
        generated, or "".
    """
    env, model = config.env, config.model
    place = "$ALFWORLD_DATA" if env.data_dir == "env" else env.data_dir
    games = environment_simulated or (f"games of {place}" if place else "real tasks")
    if model.policy == "openai":
        policy = Part("policy", f"{model.policy_model_id} at {model.policy_api_base}", False)
    elif model.policy_path.startswith("asset:"):
        name = model.policy_path.removeprefix("asset:")
        policy = Part("policy", f"{name}, the tiny one that ships with the package", True)
    elif model.policy_path:
        policy = Part("policy", model.policy_path, False)
    else:
        policy = Part("policy", f"{model.policy_model_id} (Hugging Face)", False)
    if config.rollout.engine != "local":
        by = f"{policy.what}, sampled by {config.rollout.engine} at {config.rollout.api_base}"
        policy = dataclasses.replace(policy, what=by)
    return (
        Part("environment", f"{env.name}, {games}", bool(environment_simulated)),
        policy,
        _service(
            "teacher", model.teacher, model_id=model.teacher_model_id, base=model.teacher_api_base
        ),
        _service(
            "embedder",
            model.embedder,
            model_id=model.embedding_model_id,
            base=model.embedding_api_base,
        ),
    )


def describe(found: Sequence[Part]) -> str:
    """Writes one line of real parts and one of simulated ones, as every run prints first."""
    lines = []
    for label, simulated in (("real", False), ("simulated", True)):
        those = [f"{part.name} ({part.what})" for part in found if part.simulated == simulated]
        if not simulated:
            those.append(ALWAYS_REAL)
        lines.append(f"{label + ':':<11}{'; '.join(those) or 'nothing'}")
    return "\n".join(lines)


def _service(name: str, kind: str, *, model_id: str, base: str) -> Part:
    """Describes the teacher or the embedder, which is real if a server answers for it.

    Args:
      name: what the part is called.
      kind: the setting that chooses it, such as ``openai``.
      model_id: the name of the model on the server.
      base: the address of the server.
    """
    if kind == "openai":
        return Part(name, f"{model_id} at {base}", False)
    return Part(name, {"hashing": "hashed words"}.get(kind, kind), True)
