"""Whoever makes a record, its texts can be written, sent and tokenized."""

import dataclasses
import json

from skillrl.envs.base import Move
from skillrl.skills.history import BankEvent
from skillrl.types import Observation, Provenance, Skill, Step, Task, Trajectory

HALF = "half \ud83d"
TASK = Task(id=HALF, split=HALF, category=HALF, goal=HALF, payload={HALF: [HALF, 1]})
STEP = Step(
    observation=HALF,
    admissible=("look", HALF),
    suffix_ids=(1,),
    response_ids=(2,),
    logprobs=(-0.5,),
    response=HALF,
    action=HALF,
    invalid=HALF,
)
RECORDS = [
    TASK,
    Observation(HALF, (HALF, "é")),
    STEP,
    Trajectory(
        task=TASK,
        prefix_ids=(),
        steps=(STEP,),
        won=True,
        final=HALF,
        skills=(HALF,),
        source=HALF,
        error=HALF,
    ),
    Skill(
        id=HALF,
        title=HALF,
        principle=HALF,
        when_to_apply=HALF,
        category=HALF,
        provenance=Provenance(HALF, 0, (HALF,)),
    ),
    BankEvent(
        version=1,
        step=0,
        action="added",
        skill=HALF,
        title=HALF,
        reason=HALF,
        sources=(HALF,),
        before=HALF,
        after=HALF,
    ),
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
    assert Task(id="a", split="b", category="c", goal="d", payload=payload).payload is payload


def test_what_is_no_text_is_left_to_those_who_check_it():
    assert Observation(None, ["look"]) == Observation(None, ["look"])  # type: ignore[arg-type]
