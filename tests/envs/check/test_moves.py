"""What the checks play with: samples, moves, differences."""

from __future__ import annotations

import random

from skillrl.envs import AnswerForm
from skillrl.envs.check.play import (
    Played,
    filled,
    first_difference,
    random_moves,
    sample,
    wrapped,
)
from skillrl.io.numbers import is_number
from skillrl.types import Observation, StepResult, Task

TASK = Task(id="train/0", split="train", category="a", goal="find red shoes")


def tasks(categories: str) -> list[Task]:
    return [
        Task(id=str(i), split="train", category=category, goal="x")
        for i, category in enumerate(categories)
    ]


def played(*texts: str, reward: float = 0.0) -> Played:
    one = Played(TASK)
    one.actions = ["go"] * (len(texts) - 1)
    one.answers = [
        StepResult(observation=Observation(t), done=False, won=False, reward=reward) for t in texts
    ]
    return one


def test_a_sample_goes_through_all_categories_and_through_the_whole_list():
    assert [t.id for t in sample(tasks("aaaab"), 3)] == ["0", "2", "4"]
    assert [t.id for t in sample(tasks("aaaa"), 2)] == ["0", "2"]
    assert [t.id for t in sample(tasks("ab"), 9)] == ["0", "1"]
    assert sample([], 3) == []


def test_moves_are_fixed_by_the_task_and_stay_among_the_offers():
    offers = tuple(f"go {i}" for i in range(9))
    one, other = (random_moves(TASK, AnswerForm()) for _ in range(2))
    moves = [one(Observation("", offers)) for _ in range(20)]
    assert moves == [other(Observation("", offers)) for _ in range(20)]
    assert set(moves) <= set(offers)
    assert len(set(moves)) > 3


def test_free_answers_are_words_of_the_goal_in_the_form_that_is_asked_for():
    said = random_moves(TASK, AnswerForm())(Observation(""))
    assert set(said.split()) <= set(TASK.goal.split())
    block = wrapped("x", AnswerForm(("search",) * 2), random.Random(0))
    assert block == "<search>x</search>"
    assert wrapped("x", AnswerForm(), random.Random(0)) == "x"


def test_placeholders_are_filled_and_other_brackets_kept():
    query = filled("search[<your query>]", TASK, random.Random(0))
    assert query.startswith("search[")
    assert set(query[7:-1].split()) <= set(TASK.goal.split())
    assert filled("click[b00]", TASK, random.Random(0)) == "click[b00]"


def test_the_first_difference_is_named():
    assert first_difference(played("a", "b"), played("a", "b")) == ""
    assert first_difference(played("a"), played("b")) == "at the reset: text 'a', then 'b'"
    assert "after 1 actions (last 'go')" in first_difference(played("a", "b"), played("a", "c"))
    assert first_difference(played("a"), played("a", reward=1.0)) == (
        "at the reset: reward 0.0, then 1.0"
    )
    assert "2 actions until the end once, 1 the next" in first_difference(
        played("a", "b", "c"), played("a", "b")
    )


def test_numbers():
    assert [is_number(x) for x in (1, 0.5, True, float("nan"), float("inf"), "1", None)] == [
        True,
        True,
        False,
        False,
        False,
        False,
        False,
    ]
