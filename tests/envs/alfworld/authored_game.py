"""Small games written by hand, in the official format, for tests."""

import json
import re

from skillrl.envs.alfworld.engine import NOTHING_HAPPENS, GameEngine
from skillrl.envs.alfworld.world import GameWorld

HELP = json.dumps("\nAvailable commands:\n  look: look around\n")

_GRAMMAR = """
grammar :: \"\"\"
    {{
        "task": [
            {{
                "rhs": "Your task is to: {task}."
            }}
        ]
    }}
\"\"\";

action PutObject {{
    template :: "{put}";
    feedback :: "#PutObject.feedback#";
}}
"""

_HELP_ACTION = """
action help {
    template :: "help";
    feedback :: "#help.feedback#";

    grammar :: \"\"\"
        {
            "help.feedback": [
                {
                    "rhs": %s
                }
            ]
        }
    \"\"\";
}
"""

ANYTHING_IN = "(exists (?r - receptacle) (exists (?o - object) (and {facts})))"


def goal_in(kind: str, receptacle: str, *extra: str) -> str:
    """Some `kind` in some `receptacle`, with more facts about the object ``?o``."""
    facts = [
        *extra,
        f"(objectType ?o {kind}Type)",
        f"(receptacleType ?r {receptacle}Type)",
        "(inReceptacle ?o ?r)",
    ]
    return ANYTHING_IN.format(facts=" ".join(facts))


def mangle(text: str) -> str:
    """An id as the exporter writes it."""
    for plain, word in zip("-|+.,", ("minus", "bar", "plus", "dot", "comma"), strict=True):
        text = text.replace(plain, f"_{word}_")
    return text


def game(
    facts: str,
    *,
    goal: str,
    task: str = "do it",
    put: str = "move {o} to {r}",
    help_action: bool = True,
    solvable: bool = True,
) -> dict:
    """A game whose facts are lines of ``predicate argument ...`` with unmangled ids.

    Types are told from the predicates. Unless a fact says otherwise the agent starts in the
    middle of the room, and each id gets the type of its class.
    """
    rows = [mangle(line).split() for line in facts.splitlines() if line.strip()]
    if not any(row[0] == "atLocation" for row in rows):
        rows.append(["atLocation", "agent1", mangle("loc|99|99|0|0")])
    at = {"receptacleAtLocation": "receptacle", "objectAtLocation": "object", "atLocation": "agent"}
    types = {row[1]: at[row[0]] for row in rows if row[0] in at}
    types |= {row[2]: "location" for row in rows if row[0] in at}
    types |= {row[1]: "object" for row in rows if row[0] == "inReceptacle"}
    types |= {row[1]: "object" for row in rows if row[0] == "inReceptacleObject"}
    typed = {"receptacle": "receptacleType", "object": "objectType"}
    known = {row[1] for row in rows if row[0] in typed.values()}
    for one, kind in list(types.items()):
        if kind in typed and one not in known:
            name = re.split("_bar_", one)[0]
            rows.append([typed[kind], one, f"{'SinkBasin' if 'Basin' in one else name}Type"])
    types |= {row[2]: "rtype" for row in rows if row[0] == "receptacleType"}
    types |= {row[2]: "otype" for row in rows if row[0] == "objectType"}
    types |= {row[1]: "rtype" for row in rows if row[0] == "canContain"}
    types |= {row[2]: "otype" for row in rows if row[0] == "canContain"}
    objects = "\n".join(f"{one} - {kind}" for one, kind in types.items())
    init = "\n".join(f"({' '.join(row)})" for row in rows)
    problem = (
        f"(define (problem p) (:domain alfred)\n(:objects\n{objects}\n)\n"
        f"(:init\n{init}\n)\n(:goal (and {goal})))"
    )
    grammar = _GRAMMAR.format(task=task, put=put) + (_HELP_ACTION % HELP if help_action else "")
    return {
        "pddl_domain": "(define (domain alfred))",
        "grammar": grammar,
        "pddl_problem": problem,
        "solvable": solvable,
        "walkthrough": None,
    }


# A countertop and a fridge share a place; a second countertop, a cabinet that does not open
# and a coffee machine have their own. The mug is in two of them, the spoon in the plate.
KITCHEN = """
receptacleAtLocation CounterTop|+00.10|+00.00|+00.00 loc|1|1|0|0
receptacleAtLocation CounterTop|-00.10|+00.00|+00.00 loc|2|2|0|0
receptacleAtLocation Fridge|+01.00|+00.00|+00.00 loc|1|1|0|0
receptacleAtLocation Cabinet|+02.00|+00.00|+00.00 loc|3|3|0|0
receptacleAtLocation CoffeeMachine|+02.00|+00.00|+00.00 loc|4|4|0|0
receptacleAtLocation Sink|+02.00|+00.00|+00.00|SinkBasin loc|4|4|0|0
receptacleAtLocation Microwave|+02.00|+00.00|+00.00 loc|5|5|0|0
openable Fridge|+01.00|+00.00|+00.00
openable Microwave|+02.00|+00.00|+00.00
canContain CounterTopType AppleType
canContain CounterTopType MugType
canContain CounterTopType PlateType
canContain CounterTopType KnifeType
canContain CabinetType MugType
canContain FridgeType AppleType
canContain FridgeType AppleType
inReceptacle Apple|+00.20|+00.00|+00.00 CounterTop|+00.10|+00.00|+00.00
objectAtLocation Apple|+00.20|+00.00|+00.00 loc|1|1|0|0
inReceptacle Apple|-00.20|+00.00|+00.00 Fridge|+01.00|+00.00|+00.00
objectAtLocation Apple|-00.20|+00.00|+00.00 loc|1|1|0|0
inReceptacle Apple|00.00|+00.00|+00.00 CounterTop|-00.10|+00.00|+00.00
objectAtLocation Apple|00.00|+00.00|+00.00 loc|2|2|0|0
inReceptacle Mug|+00.30|+00.00|+00.00 CounterTop|+00.10|+00.00|+00.00
inReceptacle Mug|+00.30|+00.00|+00.00 CoffeeMachine|+02.00|+00.00|+00.00
objectAtLocation Mug|+00.30|+00.00|+00.00 loc|1|1|0|0
inReceptacle Plate|+00.40|+00.00|+00.00 CounterTop|-00.10|+00.00|+00.00
objectAtLocation Plate|+00.40|+00.00|+00.00 loc|2|2|0|0
inReceptacleObject Spoon|+00.40|+00.00|+00.00 Plate|+00.40|+00.00|+00.00
objectAtLocation Spoon|+00.40|+00.00|+00.00 loc|2|2|0|0
inReceptacle Knife|+00.50|+00.00|+00.00 CounterTop|+00.10|+00.00|+00.00
objectAtLocation Knife|+00.50|+00.00|+00.00 loc|1|1|0|0
inReceptacle TeddyBear|+00.50|+00.00|+00.00 CounterTop|+00.10|+00.00|+00.00
objectAtLocation TeddyBear|+00.50|+00.00|+00.00 loc|1|1|0|0
inReceptacle HousePlant|+00.50|+00.00|+00.00 CounterTop|-00.10|+00.00|+00.00
inReceptacle DeskLamp|+00.50|+00.00|+00.00 Fridge|+01.00|+00.00|+00.00
objectAtLocation Sink|+02.00|+00.00|+00.00 loc|4|4|0|0
objectAtLocation Cabinet|+03.00|+00.00|+00.00 loc|4|4|0|0
toggleable DeskLamp|+00.50|+00.00|+00.00
isReceptacleObject Plate|+00.40|+00.00|+00.00
isReceptacleObject Mug|+00.30|+00.00|+00.00
pickupable Apple|+00.20|+00.00|+00.00
pickupable Apple|-00.20|+00.00|+00.00
pickupable Apple|00.00|+00.00|+00.00
pickupable Mug|+00.30|+00.00|+00.00
pickupable Plate|+00.40|+00.00|+00.00
pickupable Spoon|+00.40|+00.00|+00.00
pickupable Knife|+00.50|+00.00|+00.00
pickupable TeddyBear|+00.50|+00.00|+00.00
cleanable Apple|+00.20|+00.00|+00.00
cleanable Plate|+00.40|+00.00|+00.00
heatable Apple|+00.20|+00.00|+00.00
coolable Apple|+00.20|+00.00|+00.00
sliceable Apple|+00.20|+00.00|+00.00
sliceable Apple|-00.20|+00.00|+00.00
sliceable Knife|+00.50|+00.00|+00.00
"""
IN_FRIDGE = goal_in("Apple", "Fridge", "(isHot ?o)")


def kitchen(more: str = "", *, goal: str = IN_FRIDGE, **options) -> GameEngine:
    return GameEngine(GameWorld.from_game(game(KITCHEN + more, goal=goal, **options)))


def play(engine: GameEngine, *commands: str) -> str:
    """The last answer; everything before it must have been understood."""
    *first, last = commands
    for command in first:
        assert engine.step(command).observation != NOTHING_HAPPENS, command
    return engine.step(last).observation
