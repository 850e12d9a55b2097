"""Holds the records of a generated game: what describes it, its room, and the task in the room."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class Spec:
    """Holds all that a generated game depends on.

    Attributes:
      scene: floor plan number; decides the kind of room (1 kitchen, 201 living room, ...).
      room_seed: seed of furniture and places.
      category: ALFRED's task type.
      task_seed: seed of objects, goal and wording.
      custom: number of the custom by which things are kept (`customs.kept_in`); 0 for none.
    """

    scene: int
    room_seed: int
    category: str
    task_seed: int
    custom: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Receptacle:
    """Describes a piece of furniture: class, id and location in PDDL spelling."""

    kind: str
    id: str
    location: str
    openable: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Room:
    """Describes a furnished room. `start` is the location in its middle, where nothing stands."""

    kind: str
    receptacles: tuple[Receptacle, ...]
    start: str

    @property
    def layout(self) -> tuple[tuple[str, int], ...]:
        """How many of each class there are: all that the overview of a room shows."""
        kinds = [r.kind for r in self.receptacles]
        return tuple((kind, kinds.count(kind)) for kind in sorted(set(kinds)))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Describes a task in a room, before it is written as PDDL.

    Attributes:
      room: where.
      target: object class of the goal.
      place: class of the destination, or of the lamp.
      goal: the task sentence.
      things: (object class, id, receptacle) of everything that lies in the room.
    """

    room: Room
    target: str
    place: str
    goal: str
    things: tuple[tuple[str, str, Receptacle], ...]
