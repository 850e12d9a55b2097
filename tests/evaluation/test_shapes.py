"""Results and events of a run that are read back: of the shape that was written, or named."""

from pathlib import Path

import pytest

from skillrl.errors import SkillRLError
from skillrl.evaluation.evaluate import summarise
from skillrl.evaluation.shapes import check_event, check_result
from skillrl.types import Task, Trajectory

PATH = Path("evaluation/sft-valid_unseen.json")
EPISODES = [
    Trajectory(
        task=Task(id=str(n), split="valid_unseen", category="pick", goal="go"),
        prefix_ids=(),
        steps=(),
        won=n < 2,
    )
    for n in range(4)
]
CATEGORIES = {"pick": "Pick", "heat": "Heat"}
RESULT = summarise(EPISODES, CATEGORIES) | {"temperature": 0.0, "skills": 3}
RATE = RESULT["by_category"]["pick"]


def test_what_was_written_is_what_is_read():
    assert check_result(RESULT, PATH, CATEGORIES) is RESULT
    named = [
        Trajectory(
            task=Task(id="a", split="v", category="pick", goal="go", payload={"dataset": "nq"}),
            prefix_ids=(),
            steps=(),
            won=True,
        )
    ]
    assert (
        check_result(summarise(named, CATEGORIES), PATH, CATEGORIES)["by_dataset"]["nq"]["n"] == 1
    )
    empty = summarise([], CATEGORIES)
    assert check_result(empty, PATH, CATEGORIES)["success"] is None
    event = {"step": 2, "added": ["dyn_001"], "refined": [], "overall": 0.5}
    assert check_event(event, PATH) is event


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([], "is []"),
        ({}, "field 'success' is missing"),
        (RESULT | {"success": "0.5"}, "field 'success' is '0.5'"),
        (RESULT | {"invalid_actions": {}}, "field 'invalid_actions' is {}"),
        (RESULT | {"errored": None}, "field 'errored' is None"),
        (RESULT | {"n": 0.5}, "field 'n' is 0.5"),
        (RESULT | {"low": None}, "has 4 episodes and no success or interval"),
        (RESULT | {"by_category": []}, "field 'by_category' is []"),
        (RESULT | {"by_category": {"pick": RATE | {"n": "2"}}}, "by_category.pick: field 'n'"),
        (RESULT | {"by_category": {"pick": RATE}}, "by_category has no heat"),
        (RESULT | {"by_category": {"pick": [1]}}, "by_category.pick: is [1]"),
        (RESULT | {"by_dataset": {"nq": RATE | {"success": None}}}, "by_dataset.nq: has"),
    ],
)
def test_results_of_another_shape(value, words):
    with pytest.raises(SkillRLError, match=r"sft-valid_unseen\.json: not the result") as caught:
        check_result(value, PATH, CATEGORIES)
    assert words in str(caught.value)


@pytest.mark.parametrize("value", [None, {"step": 1}, {"step": 1, "added": [{}], "refined": []}])
def test_events_of_another_shape(value):
    with pytest.raises(SkillRLError, match="not an event of evolution"):
        check_event(value, PATH)
