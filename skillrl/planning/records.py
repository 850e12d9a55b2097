"""Holds what came of a plan, as records that JSON can carry between two processes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from skillrl.planning.candidates import Candidate


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """Says what one program takes, of one device.

    Attributes:
      name: of the program.
      runs: how often it runs in an iteration.
      flops: operations of one run.
      bytes: read and written by one run.
      collectives: exchanges with other devices in one run.
      sent: their bytes, by kind.
      working: bytes beside what it is handed.
      moment: all bytes in use while it runs.
      seconds: of all its runs.
    """

    name: str
    runs: float
    flops: float
    bytes: float
    collectives: int
    sent: Mapping[str, float]
    working: float
    moment: float
    seconds: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """Says what a candidate takes.

    Attributes:
      candidate: its settings.
      held: bytes on one device by what they hold.
      rows: its programs.
      largest: bytes in use at the largest moment.
      at: the program that runs then.
      fits: whether that is within the limit.
      seconds: of an iteration.
      compile_seconds: how long it took to find out.
    """

    candidate: Candidate
    held: Mapping[str, float]
    rows: tuple[Row, ...]
    largest: float
    at: str
    fits: bool
    seconds: float
    compile_seconds: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """Holds a plan.

    Attributes:
      policy: its name, and where its sizes come from.
      target: what was compiled for.
      real: whether that is the kind that is planned for.
      kind: name of the kind of device.
      devices: how many of them.
      reason: why the mesh is as it is.
      outcomes: what was compiled, the one that is planned first.
      guessed: how many candidates were guessed from sizes.
      limit: bytes of one device that a run may use.
    """

    policy: str
    target: str
    real: bool
    kind: str
    devices: int
    reason: str
    outcomes: tuple[Outcome, ...]
    guessed: int
    limit: float

    @property
    def planned(self) -> Outcome:
        """What the settings ask for, with the mesh that was chosen."""
        return self.outcomes[0]

    @property
    def best(self) -> Outcome:
        """Of what was compiled the fastest that fits, or what takes the least memory."""
        fitting = [outcome for outcome in self.outcomes if outcome.fits]
        if fitting:
            return min(fitting, key=lambda outcome: outcome.seconds)
        return min(self.outcomes, key=lambda outcome: outcome.largest)

    def to_json(self) -> dict[str, Any]:
        """Returns plain values."""
        return dataclasses.asdict(self)

    def dumps(self) -> str:
        """Returns `to_json` as text."""
        return json.dumps(self.to_json(), indent=2) + "\n"

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Plan:
        """Makes a plan of what `to_json` gave."""
        outcomes = tuple(
            Outcome(
                **{
                    **outcome,
                    "candidate": Candidate(**outcome["candidate"]),
                    "rows": tuple(Row(**row) for row in outcome["rows"]),
                }
            )
            for outcome in values["outcomes"]
        )
        return cls(**{**values, "outcomes": outcomes})
