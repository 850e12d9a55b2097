"""Small games written by hand, in the official format, for tests."""

import json
import re

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
    rows = [mangle(line).split() for line in facts.strip().splitlines()]
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
