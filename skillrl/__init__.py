"""SkillRL in JAX/Flax: language-model agents that learn with an evolving skill bank.

Names are imported when they are first used (PEP 562), so that `import skillrl` is
instant and touches no device.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from skillrl.config.presets import resolve
    from skillrl.config.settings import Config
    from skillrl.envs.base import make_suite, register
    from skillrl.errors import SkillRLError
    from skillrl.types import Observation, Skill, Step, StepResult, Task, Trajectory

__version__ = "0.1.0"

__all__ = [
    "Config",
    "Observation",
    "Skill",
    "SkillRLError",
    "Step",
    "StepResult",
    "Task",
    "Trajectory",
    "__version__",
    "make_suite",
    "register",
    "resolve",
]

_HOMES = {
    "Config": "skillrl.config.settings",
    "Observation": "skillrl.types",
    "Skill": "skillrl.types",
    "SkillRLError": "skillrl.errors",
    "Step": "skillrl.types",
    "StepResult": "skillrl.types",
    "Task": "skillrl.types",
    "Trajectory": "skillrl.types",
    "make_suite": "skillrl.envs.base",
    "register": "skillrl.envs.base",
    "resolve": "skillrl.config.presets",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'skillrl' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
