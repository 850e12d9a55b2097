"""Published evaluation protocols, and what of an evaluation departs from the one it names.

A number is comparable with a published one if tasks and settings are the same. A config names
the protocol it follows (``evaluation.protocol``); what differs is said before anything is played.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from skillrl.config.settings import Config
from skillrl.envs.base import Suite
from skillrl.errors import SkillRLError


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """How others evaluate.

    Attributes:
      source: who published it, and where.
      counts: split -> category -> number of tasks, each of which is played once.
      temperature: of sampling.
      max_steps: step limit of an episode.
      history_length: recent steps that a prompt shows.
    """

    source: str
    counts: Mapping[str, Mapping[str, int]]
    temperature: float
    max_steps: int
    history_length: int


_HOUSEHOLD = (
    "pick_and_place_simple",
    "look_at_obj_in_light",
    "pick_clean_then_place_in_recep",
    "pick_heat_then_place_in_recep",
    "pick_cool_then_place_in_recep",
    "pick_two_obj_and_place",
)

PROTOCOLS: Mapping[str, Protocol] = {
    "alfworld_ahead": Protocol(
        source="AHEAD, arXiv 2608.24114, model card of Bruce-Jin/AHEAD-ALFWorld-7B",
        counts={
            "valid_seen": dict(zip(_HOUSEHOLD, (35, 13, 27, 16, 25, 24), strict=True)),
            "valid_unseen": dict(zip(_HOUSEHOLD, (24, 18, 31, 23, 21, 17), strict=True)),
        },
        temperature=0.4,
        max_steps=50,
        history_length=2,
    ),
}
"""Name -> protocol. Its result is the share of games won (a micro-average), for each split."""


def get_protocol(name: str) -> Protocol | None:
    """Returns the protocol that ``evaluation.protocol`` names; None for "".

    Raises:
      SkillRLError: there is no such protocol; the message lists those there are.
    """
    if name and name not in PROTOCOLS:
        raise SkillRLError(
            f"evaluation.protocol is {name!r}: there is no such protocol. Use one of: "
            f"{', '.join(PROTOCOLS)}, or leave it empty."
        )
    return PROTOCOLS[name] if name else None


def departures(
    config: Config,
    suite: Suite,
    *,
    splits: Sequence[str],
    temperature: float | None = None,
    repeats: int | None = None,
) -> list[str]:
    """Lists what of an evaluation is not as the protocol has it that its config names.

    Args:
      config: its settings.
      suite: the environment, whose tasks are counted.
      splits: which of it are played.
      temperature: of sampling; None is the config's.
      repeats: how often each task is played; None is the config's.

    Returns:
      A phrase for each setting, split or category that differs; empty where none does, or where
      no protocol is named.

    Raises:
      SkillRLError: there is no such protocol.
    """
    protocol = get_protocol(config.evaluation.protocol)
    if protocol is None:
        return []
    settings: list[tuple[str, Any, Any]] = [
        ("temperature", config.evaluation.temperature if temperature is None else temperature,
         protocol.temperature),
        ("repeats", repeats or config.evaluation.repeats, 1),
        ("evaluation.max_tasks", config.evaluation.max_tasks, 0),
        ("env.max_steps", config.env.max_steps, protocol.max_steps),
        ("agent.history_length", config.agent.history_length, protocol.history_length),
    ]  # fmt: skip
    found = [
        f"{name} is {ours:g}, there {theirs:g}" for name, ours, theirs in settings if ours != theirs
    ]
    if missing := [split for split in protocol.counts if split not in splits]:
        found.append(f"{', '.join(missing)} is not played")
    for split in splits:
        if split not in protocol.counts:
            found.append(f"{split} is no part of it")
            continue
        expected = protocol.counts[split]
        counted = Counter(task.category for task in suite.tasks(split))
        differing = [
            f"{suite.categories.get(key, key)} {counted[key]}, there {expected.get(key, 0)}"
            for key in dict.fromkeys((*expected, *counted))
            if counted[key] != expected.get(key, 0)
        ]
        if differing:
            found.append(f"{split} has other games ({'; '.join(differing)})")
    return found


def warning(config: Config, suite: Suite, **played: Any) -> str:
    """Says in a sentence what `departures` lists, and of which protocol; "" where it lists none."""
    found = departures(config, suite, **played)
    if not found:
        return ""
    name = config.evaluation.protocol
    return (
        f"this is not the protocol {name} ({PROTOCOLS[name].source}), and numbers are not "
        f"comparable with those published: {'; '.join(found)}"
    )
