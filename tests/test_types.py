"""Whoever makes a record, its texts can be written, sent and tokenized."""

import dataclasses
import json

from skillrl.envs.base import Move
from skillrl.skills.bank import BankEvent
from skillrl.types import Observation, Provenance, Skill, Step, Task, Trajectory

HALF = "half \ud83d"
TASK = Task(HALF, HALF, HALF, HALF, {HALF: [HALF, 1]})
STEP = Step(HALF, ("look", HALF), (1,), (2,), (-0.5,), HALF, HALF, HALF)
RECORDS = [
    TASK,
    Observation(HALF, (HALF, "é")),
    STEP,
    Trajectory(TASK, (), (STEP,), True, final=HALF, skills=(HALF,), source=HALF, error=HALF),
    Skill(HALF, HALF, HALF, HALF, HALF, provenance=Provenance(HALF, 0, (HALF,))),
    BankEvent(1, 0, "added", HALF, HALF, HALF, HALF),
    Move(HALF, HALF),
]


def test_half_an_emoji_is_repaired_in_every_text_of_every_record():
    for record in RECORDS:
        text = json.dumps(dataclasses.asdict(record), ensure_ascii=False)
        text.encode("utf-8")
        assert "half \ufffd" in text


def test_valid_texts_stay_the_objects_that_they_are():
    text, offers = "é" * 50, ("look", "gehe zur Tür")
    now = Observation(text, offers)
    assert now.text is text
    assert now.admissible is offers
    payload = {"game": "a"}
    assert Task("a", "b", "c", "d", payload).payload is payload


def test_what_is_no_text_is_left_to_those_who_check_it():
    assert Observation(None, ["look"]) == Observation(None, ["look"])  # type: ignore[arg-type]
