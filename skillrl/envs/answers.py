"""What an environment answers, checked where it enters: its episode ends, and no other.

An environment may be a server's, or somebody's first attempt. What is not an observation would
otherwise end the run later, in the prompt builder, the tokenizer or a file.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from skillrl.text import repair
from skillrl.types import Observation, StepResult


class Malformed(ValueError):
    """An environment answered with something else than an observation or a result."""


def checked_observation(found: Any) -> Observation:
    """`found`, its text repaired; a valid one comes back as it is.

    Raises:
      Malformed: it is no observation; the message names the field and its value.
    """
    _expect(found, Observation, "an answer", found)
    _expect(found.text, str, "the text of an observation", found.text)
    if not isinstance(found.admissible, tuple | list) or not all(
        isinstance(action, str) for action in found.admissible
    ):
        raise Malformed(f"admissible actions are texts, not {_shown(found.admissible)}")
    text, admissible = repair(found.text), repair(tuple(found.admissible))
    if text is found.text and admissible is found.admissible:
        return found
    return Observation(text, admissible)


def checked_result(found: Any) -> StepResult:
    """Likewise for the answer to an action; NumPy's numbers become Python's.

    Raises:
      Malformed: see `checked_observation`; reward and score are finite numbers.
    """
    _expect(found, StepResult, "the answer to an action", found)
    values: dict[str, Any] = {}
    for name in ("done", "won"):
        value = getattr(found, name)
        if type(value).__name__ not in ("bool", "bool_"):
            raise Malformed(f"{name} is True or False, not {_shown(value)}")
        values[name] = bool(value)
    for name in ("reward", "score"):
        value = getattr(found, name)
        if isinstance(value, str | bytes) or not _finite(value):
            raise Malformed(f"{name} is a finite number, not {_shown(value)}")
        values[name] = value if isinstance(value, int | float) else float(value)
    values["observation"] = checked_observation(found.observation)
    if all(getattr(found, name) is value for name, value in values.items()):
        return found
    return dataclasses.replace(found, **values)


def _finite(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except (TypeError, ValueError, OverflowError):
        return False


def _expect(value: Any, kind: type, what: str, shown: Any) -> None:
    if not isinstance(value, kind):
        named = "a text" if kind is str else f"of the type {kind.__name__}"
        raise Malformed(f"{what} is {named}, not {_shown(shown)}")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 120 else text[:117] + "..."
