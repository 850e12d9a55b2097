"""Trains language-model agents that learn with an evolving skill bank: SkillRL in JAX/Flax.

    import skillrl

    suite = skillrl.make_suite("alfworld")
    policy = skillrl.load_policy("asset:tiny_qwen2_alfworld")
    episodes = skillrl.rollout(policy, suite, suite.tasks("train")[:2], group_size=8)
    training, metrics = skillrl.grpo_step(policy, episodes)

Names are imported when they are first used (PEP 562), so that `import skillrl` is
instant and touches no device. Nothing inside the package imports from here.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from skillrl.api import (
        default_config,
        distill,
        evaluate,
        evolve,
        load_policy,
        make_suite,
        rollout,
        run,
        train,
    )
    from skillrl.config.presets import resolve
    from skillrl.config.settings import Config
    from skillrl.envs.base import register
    from skillrl.errors import SkillRLError
    from skillrl.learn import Training, demonstrate, grpo_step, sft_step
    from skillrl.models.policy import Policy
    from skillrl.phases.export import export
    from skillrl.skills.bank import SkillBank
    from skillrl.types import Observation, Skill, Step, StepResult, Task, Trajectory
    from skillrl.version import VERSION as __version__

__all__ = [
    "Config",
    "Observation",
    "Policy",
    "Skill",
    "SkillBank",
    "SkillRLError",
    "Step",
    "StepResult",
    "Task",
    "Training",
    "Trajectory",
    "__version__",
    "default_config",
    "demonstrate",
    "distill",
    "evaluate",
    "evolve",
    "export",
    "grpo_step",
    "load_policy",
    "make_suite",
    "register",
    "resolve",
    "rollout",
    "run",
    "sft_step",
    "train",
]

_HOMES = {
    "Config": "skillrl.config.settings",
    "Observation": "skillrl.types",
    "Policy": "skillrl.models.policy",
    "Skill": "skillrl.types",
    "SkillBank": "skillrl.skills.bank",
    "SkillRLError": "skillrl.errors",
    "Step": "skillrl.types",
    "StepResult": "skillrl.types",
    "Task": "skillrl.types",
    "Training": "skillrl.learn",
    "Trajectory": "skillrl.types",
    "demonstrate": "skillrl.learn",
    "export": "skillrl.phases.export",
    "grpo_step": "skillrl.learn",
    "register": "skillrl.envs.base",
    "resolve": "skillrl.config.presets",
    "sft_step": "skillrl.learn",
}
"""Where a name lives that is not in `skillrl.api`."""


def __getattr__(name: str) -> Any:
    if name == "__version__":
        value = importlib.import_module("skillrl.version").VERSION
    elif name in __all__:
        value = getattr(importlib.import_module(_HOMES.get(name, "skillrl.api")), name)
    else:
        raise AttributeError(f"module 'skillrl' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
