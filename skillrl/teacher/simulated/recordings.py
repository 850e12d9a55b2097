"""Reads recordings and skills back from a teacher's prompt: the layout of `skills.render`."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable

GENERAL = "general"
"""The word by which requests call what belongs to no category."""


@dataclasses.dataclass(frozen=True, slots=True)
class RecordedMove:
    """Holds one step: what was done, why it was invalid ("" if it was not), what came of it."""

    action: str
    invalid: str
    result: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """Holds a trajectory as the prompt tells it; `told` are the rules that its agent is given."""

    id: str
    goal: str
    category: str
    won: bool
    opening: str
    moves: tuple[RecordedMove, ...]
    told: tuple[str, ...] = ()

    @property
    def task(self) -> str:
        """Names the task, as far as the id tells: several recordings may be of one."""
        return task_of(self.id)


def task_of(recording_id: str) -> str:
    """Names the task of a recording, as far as its id tells."""
    return recording_id.partition("#")[0]


def count_tasks(recording_ids: Iterable[str]) -> int:
    """Counts the tasks of recordings: several of one show the same place, card or shop."""
    return len(set(map(task_of, recording_ids)))


def read_recordings(text: str) -> list[Recording]:
    """Reads all recordings of a prompt, in order."""
    found = []
    for block in re.split(r"^=== Trajectory ", text, flags=re.M)[1:]:
        lines = block.split("\n=== End")[0].split("\n")
        head = {"Task": "", "Category": "", "Outcome": "", "Observation": ""}
        moves: list[dict[str, str]] = []
        for line in lines[1:]:
            label, _, value = line.partition(": ")
            if line.startswith("Step "):
                moves.append({})
            elif moves:
                moves[-1].setdefault(label, value)
            elif label in head:
                head[label] = value
        found.append(
            Recording(
                id=lines[0].strip(),
                goal=head["Task"],
                category=head["Category"],
                won=head["Outcome"].startswith("success"),
                opening=head["Observation"],
                moves=tuple(
                    RecordedMove(
                        action=move.get("Action", ""),
                        invalid=move.get("Valid", "").partition("no, ")[2],
                        result=move.get("Result", ""),
                    )
                    for move in moves
                ),
            )
        )
    return found


def read_skills(text: str) -> list[tuple[str, str, str, str]]:
    """Reads (id, category, title, principle) of the skills that a prompt lists."""
    return re.findall(
        r"^\[(\w+)\] \(([^)]*)\) (.*?): (.*?)(?: \(won \d+ of \d+\))?"
        r"(?: \((?:unmeasured|helps [^)]*)\))?$",
        text,
        flags=re.M,
    )


def read_utility(text: str) -> dict[str, tuple[int, int]]:
    """Reads the ends of the interval of each measured skill that a prompt lists, in points."""
    found = re.findall(
        r"^\[(\w+)\] .* \(helps [+-]\d+ points, ([+-]\d+) to ([+-]\d+), \d+ pairs\)$",
        text,
        flags=re.M,
    )
    return {name: (int(low), int(high)) for name, low, high in found}
