"""Writes a generated problem as PDDL text, in the exporter's order of sections."""

from __future__ import annotations

from collections.abc import Iterable

from skillrl.envs.alfworld import rooms
from skillrl.envs.alfworld.layout import Problem

# The domain names these types as constants, so every problem must declare them.
_CONSTANT_OBJECTS = ("Knife", "ButterKnife")
_CONSTANT_PLACES = ("SinkBasin", "Microwave", "Fridge")


def problem_text(problem: Problem, name: str, goal: str) -> str:
    """Returns the text of ``initial_state.pddl``.

    Args:
      problem: what is to be written.
      name: the problem's name.
      goal: the formatted goal block, which also closes the definition.
    """
    places = sorted(problem.room.receptacles, key=lambda r: r.id)
    things = sorted(problem.things, key=lambda thing: thing[1])
    kinds = sorted({kind for kind, _, _ in things} | set(_CONSTANT_OBJECTS))
    place_kinds = sorted({r.kind for r in places} | set(_CONSTANT_PLACES))
    locations = sorted({problem.room.start, *(r.location for r in places)})
    objects = [
        "agent1 - agent",
        *(f"{kind} - object" for kind in kinds),
        *(f"{kind}Type - otype" for kind in kinds),
        *(f"{kind}Type - rtype" for kind in place_kinds),
        *(f"{i} - object" for _, i, _ in things),
        *(f"{r.id} - receptacle" for r in places),
        *(f"{location} - location" for location in locations),
    ]
    movable = [(kind, i) for kind, i, _ in things if kind != rooms.LAMP]

    def every(predicate: str, classes: Iterable[str]) -> list[str]:
        chosen = set(classes)
        return [f"{predicate} {i}" for kind, i in movable if kind in chosen]

    facts = [
        *(f"receptacleType {r.id} {r.kind}Type" for r in places),
        *(f"objectType {i} {kind}Type" for kind, i, _ in things),
        *(
            f"canContain {place}Type {kind}Type"
            for place in sorted({r.kind for r in places})
            for kind in kinds
            if kind in rooms.CAN_CONTAIN[place]
        ),
        *(f"pickupable {i}" for _, i in movable),
        *every("isReceptacleObject", rooms.VESSELS),
        *(f"openable {r.id}" for r in places if r.openable),
        f"atLocation agent1 {problem.room.start}",
        *every("cleanable", rooms.CLEANABLE),
        *every("heatable", rooms.HEATABLE),
        *every("coolable", rooms.COOLABLE),
        *(f"toggleable {i}" for kind, i, _ in things if kind == rooms.LAMP),
        *every("sliceable", rooms.SLICEABLE),
        *(f"inReceptacle {i} {r.id}" for _, i, r in things),
        *(f"receptacleAtLocation {r.id} {r.location}" for r in places),
        *(f"objectAtLocation {i} {r.location}" for _, i, r in things),
    ]
    return "\n".join(
        [
            "",
            f"(define (problem {name})",
            "(:domain alfred)",
            "(:objects",
            *(f"        {line}" for line in objects),
            "        )",
            "",
            "(:init",
            *(f"        ({fact})" for fact in facts),
            "        )",
            goal,
        ]
    )
