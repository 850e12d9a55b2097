"""Trajectories for tests of skills and teacher, written as scripts of (action, result)."""

import dataclasses

import numpy as np

from skillrl.skills.bank import SkillBank
from skillrl.types import Skill, Step, Task, Trajectory

OPENING = "You are in the middle of a room. Looking quickly around you, you see a cabinet 1."
NOTHING = "Nothing happens."

CLEAN = "pick_clean_then_place_in_recep"
HEAT = "pick_heat_then_place_in_recep"
LOOK = "look_at_obj_in_light"
PICK = "pick_and_place_simple"
TWO = "pick_two_obj_and_place"

GOALS = {
    CLEAN: "put a clean mug in cabinet",
    HEAT: "heat some egg and put it in fridge",
    LOOK: "look at bowl under the desklamp",
    PICK: "put some book on bed",
    TWO: "find two pen and put them in drawer",
}

WIN_CLEAN = [
    ("go to cabinet 1", "You arrive at cabinet 1. The cabinet 1 is closed."),
    ("open cabinet 1", "You open the cabinet 1. The cabinet 1 is open. In it, you see a mug 1."),
    ("take mug 1 from cabinet 1", "You pick up the mug 1 from the cabinet 1."),
    ("go to sinkbasin 1", "You arrive at sinkbasin 1. On the sinkbasin 1, you see nothing."),
    ("clean mug 1 with sinkbasin 1", "You clean the mug 1 using the sinkbasin 1."),
    ("go to cabinet 1", "You arrive at cabinet 1. The cabinet 1 is open. In it, you see nothing."),
    ("move mug 1 to cabinet 1", "You move the mug 1 to the cabinet 1."),
]
WIN_HEAT = [
    ("go to countertop 1", "You arrive at countertop 1. On the countertop 1, you see a egg 1."),
    ("take egg 1 from countertop 1", "You pick up the egg 1 from the countertop 1."),
    ("go to microwave 1", "You arrive at microwave 1. The microwave 1 is closed."),
    ("heat egg 1 with microwave 1", "You heat the egg 1 using the microwave 1."),
    ("go to fridge 1", "You arrive at fridge 1. The fridge 1 is closed."),
    ("open fridge 1", "You open the fridge 1. The fridge 1 is open. In it, you see nothing."),
    ("put egg 1 in/on fridge 1", "You put the egg 1 in/on the fridge 1."),
]
NEVER_OPENED = [
    ("go to drawer 1", "You arrive at drawer 1. The drawer 1 is closed."),
    ("go to drawer 2", "You arrive at drawer 2. The drawer 2 is closed."),
    ("go to shelf 1", "You arrive at shelf 1. On the shelf 1, you see nothing."),
]
CIRCLES = [("go to shelf 1", "You arrive at shelf 1. On the shelf 1, you see nothing.")] * 4
UNTREATED = [
    ("take mug 1 from shelf 1", "You pick up the mug 1 from the shelf 1."),
    ("go to cabinet 1", "You arrive at cabinet 1. The cabinet 1 is open. In it, you see nothing."),
    ("move mug 1 to cabinet 1", "You move the mug 1 to the cabinet 1."),
    ("look", "You are facing the cabinet 1."),
]
NO_APPLIANCE = [
    ("take mug 1 from shelf 1", "You pick up the mug 1 from the shelf 1."),
    ("go to desk 1", "You arrive at desk 1. On the desk 1, you see nothing."),
    ("go to bed 1", "You arrive at bed 1. On the bed 1, you see nothing."),
]


def played(script, *, category=CLEAN, won=False, task="0001", split="train", member=0, **fields):
    """The trajectory of (action, result) pairs; a result of NOTHING marks it inadmissible."""
    observation, steps = OPENING, []
    for action, result in script:
        steps.append(
            Step(
                observation=observation,
                admissible=(),
                suffix_ids=(),
                response_ids=(),
                logprobs=(),
                response=f"<think>go</think><action>{action}</action>",
                action=action,
                invalid="not admissible" if result == NOTHING else "",
            )
        )
        observation = result
    goal = fields.pop("goal", GOALS[category])
    return Trajectory(
        task=Task(id=f"{split}/{task}", split=split, category=category, goal=goal),
        prefix_ids=(),
        steps=tuple(steps),
        won=won,
        member=member,
        **fields,
    )


@dataclasses.dataclass(frozen=True)
class Measured:
    """A measured utility."""

    mean: float
    low: float = -1.0
    high: float = 1.0
    pairs: int = 10


class TableEmbedder:
    """Similarity to the query as written in the text: "title. 0.7"."""

    model_id = "table"

    def __init__(self):
        self.asked = []

    def embed(self, texts):
        self.asked += texts
        cosine = [1.0 if "task:" in t else float(t.split(". ")[1]) for t in texts]
        return np.array([[c, np.sqrt(1 - c * c)] for c in cosine], np.float32)


def bank_of(*rows):
    return SkillBank().add(
        [Skill(id=i, title=i, principle=str(s), category=c, kind=k) for i, s, c, k in rows]
    )
