import dataclasses
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skillrl.errors import SkillRLError
from skillrl.rollouts import store
from skillrl.types import Step, Task, Trajectory

TASK = Task(
    id="train/0001",
    split="train",
    category="pick",
    goal="put a mug in the safe",
    payload={"seed": 3, "sizes": [1, 2]},
)
STEP = Step(
    observation='You see a "mug" 1.\nAnd é, 漢.',
    admissible=("look", "go"),
    suffix_ids=(1, 2),
    response_ids=(3, 4),
    logprobs=(-0.1, -2.5),
    response="r",
    action="go",
    invalid="",
    reward=0.5,
)
TRAJECTORY = Trajectory(
    task=TASK,
    prefix_ids=(7, 8),
    steps=(STEP, STEP),
    won=True,
    score=1.0,
    final="The end.",
    member=2,
    repeat=1,
    skills=("gen_001",),
    policy_version=40,
    bank_version=3,
    source="expert",
    error="",
)
EMPTY = Trajectory(task=TASK, prefix_ids=(), steps=(), won=False, error="ConnectionError: gone")


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


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (change(won="false"), ["field 'won' is 'false'", "true or false"]),
        (change(won=1), ["field 'won' is 1"]),
        (change(score=float("nan")), ["field 'score' is nan", "finite"]),
        (change(prefix_ids=[7, -1]), ["field 'prefix_ids' has -1 as item 1"]),
        (change(prefix_ids=[2**40]), ["'prefix_ids' has 1099511627776"]),
        (change(member="0"), ["field 'member' is '0'"]),
        (change(skills="gen_001"), ["field 'skills' is 'gen_001'", "list"]),
        (change(task={**change()["task"], "id": " "}), ["task: field 'id' is empty"]),
        (change(task={**change()["task"], "payload": None}), ["task: field 'payload' is None"]),
        (change(error=None), ["field 'error' is None"]),
    ],
)
def test_each_field_is_checked_with_its_value(tmp_path, wrong, words):
    path = tmp_path / "t.jsonl"
    path.write_text(json.dumps(wrong) + "\n")
    with pytest.raises(SkillRLError, match="mend or remove the line") as caught:
        list(store.read(path))
    for word in [f"{path}, line 1", *words]:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"logprobs": [float("nan"), -1.0]}, ["steps[1]", "'logprobs' has nan as item 0"]),
        ({"logprobs": [-1.0]}, ["steps[1]: 1 logprobs for 2 response_ids"]),
        ({"response_ids": [3, True]}, ["steps[1]", "'response_ids' has True as item 1"]),
        ({"admissible": "look"}, ["steps[1]", "'admissible' is 'look'"]),
        ({"reward": "0.5"}, ["steps[1]", "'reward' is '0.5'"]),
    ],
)
def test_each_field_of_a_step_is_checked(fields, words):
    steps = change()["steps"]
    with pytest.raises(SkillRLError) as caught:
        store.from_json(change(steps=[steps[0], steps[1] | fields]))
    for word in words:
        assert word in str(caught.value)


def test_logprobs_without_ids_are_those_of_a_server():
    """A server tells how likely its tokens were, but no ids."""
    step = dataclasses.replace(STEP, response_ids=())
    whole = dataclasses.replace(TRAJECTORY, steps=(step,))
    assert store.from_json(json.loads(json.dumps(store.to_json(whole)))) == whole


def test_the_last_line_of_a_given_file_counts_without_a_newline(tmp_path):
    path = tmp_path / "t.jsonl"
    store.write(path, [TRAJECTORY, EMPTY])
    path.write_bytes(b"\n" + path.read_bytes()[:-1])  # pandas; and a blank line
    assert list(store.read(path, given=True)) == [TRAJECTORY, EMPTY]
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(SkillRLError, match=r"line 3 is not JSON .* cut short"):
        list(store.read(path, given=True))


def test_a_file_of_windows_with_half_an_emoji(tmp_path):
    path = tmp_path / "t.jsonl"
    rows = [change(final="half \ud83d"), change(final="whole 😀")]
    lines = [json.dumps(row).encode() for row in rows]
    path.write_bytes(b"\xef\xbb\xbf" + b"\r\n".join(lines) + b"\r\n")
    assert [one.final for one in store.read(path)] == ["half \ufffd", "whole 😀"]
