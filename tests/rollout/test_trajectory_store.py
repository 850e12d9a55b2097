import dataclasses
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skillrl.errors import SkillRLError
from skillrl.rollout import store
from skillrl.types import Step, Task, Trajectory

TASK = Task("train/0001", "train", "pick", "put a mug in the safe", {"seed": 3, "sizes": [1, 2]})
STEP = Step(
    'You see a "mug" 1.\nAnd é, 漢.',
    ("look", "go"),
    (1, 2),
    (3, 4),
    (-0.1, -2.5),
    "r",
    "go",
    "",
    0.5,
)
TRAJECTORY = Trajectory(
    TASK, (7, 8), (STEP, STEP), True, 1.0, "The end.", 2, 1, ("gen_001",), 40, 3, "expert", ""
)
EMPTY = Trajectory(TASK, (), (), False, error="ConnectionError: gone")


def test_a_trajectory_comes_back_equal(tmp_path):
    path = tmp_path / "deep" / "t.jsonl"
    store.write(path, [TRAJECTORY, EMPTY])
    assert list(store.read(path)) == [TRAJECTORY, EMPTY]
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) == 2
    assert json.loads(lines[0])["id"] == TRAJECTORY.id == "train/0001#expert.v40.m2.r1"
    assert "漢" in lines[0]  # readable


@settings(max_examples=60, deadline=None)
@given(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.lists(st.floats(max_value=0, allow_nan=False, allow_infinity=False, width=32)),
)
def test_text_and_logprobs_are_exact(text, logprobs):
    ids = tuple(range(len(logprobs)))
    step = dataclasses.replace(STEP, observation=text, response_ids=ids, logprobs=tuple(logprobs))
    whole = dataclasses.replace(TRAJECTORY, steps=(step,), final=text)
    line = json.dumps(store.to_json(whole), ensure_ascii=False)
    assert store.from_json(json.loads(line)) == whole


def test_append_adds_and_write_replaces(tmp_path):
    path = tmp_path / "t.jsonl"
    store.append(path, [TRAJECTORY])
    store.append(path, [EMPTY, EMPTY])
    assert list(store.read(path)) == [TRAJECTORY, EMPTY, EMPTY]
    store.append(path, [])
    store.write(path, [EMPTY])
    assert list(store.read(path)) == [EMPTY]
    store.write(path, [])
    assert list(store.read(path)) == []


def test_a_torn_last_line_is_not_a_trajectory_and_goes_with_the_next_append(tmp_path):
    path = tmp_path / "t.jsonl"
    store.write(path, [TRAJECTORY, EMPTY])
    path.write_bytes(path.read_bytes()[:-20])
    assert list(store.read(path)) == [TRAJECTORY]
    store.append(path, [EMPTY])
    assert list(store.read(path)) == [TRAJECTORY, EMPTY]


def test_a_missing_file_says_what_to_run(tmp_path):
    with pytest.raises(SkillRLError, match=r"none\.jsonl.*collect"):
        list(store.read(tmp_path / "none.jsonl"))


def change(**fields):
    return {**json.loads(json.dumps(store.to_json(TRAJECTORY))), **fields}


def without(name):
    return {k: v for k, v in change().items() if k != name}


@pytest.mark.parametrize(
    "wrong",
    [
        without("task"),
        without("steps"),
        without("won"),
        change(colour="red"),
        change(task={"id": "x"}),
        change(task="x"),
        change(steps=[{"observation": "x"}]),
        change(steps=["x"]),
        change(steps=3),
        [1, 2],
        "text",
        3,
        None,
    ],
    ids=lambda wrong: str(type(wrong).__name__),
)
def test_what_is_no_trajectory_is_named_by_file_and_line(tmp_path, wrong):
    path = tmp_path / "t.jsonl"
    store.write(path, [TRAJECTORY])
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(wrong) + "\n")
    with pytest.raises(SkillRLError, match=r"t\.jsonl, line 2: not a trajectory"):
        list(store.read(path))


def test_a_number_that_json_does_not_know_is_refused(tmp_path):
    broken = dataclasses.replace(TRAJECTORY, score=float("nan"))
    for put in (store.write, store.append):
        with pytest.raises(ValueError, match="JSON"):
            put(tmp_path / "t.jsonl", [broken])
    assert not (tmp_path / "t.jsonl").exists()
