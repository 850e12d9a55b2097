"""Success per data set, beside that per category."""

import dataclasses
import json

import pytest

from skillrl.evaluation.evaluate import results_table, summarise
from skillrl.types import Task, Trajectory

CATEGORIES = {"direct": "Direct"}


def trajectory(dataset, *, won, error=""):
    task = Task(
        id="t",
        split="valid_seen",
        category="direct",
        goal="q?",
        payload={"dataset": dataset} if dataset else {},
    )
    return Trajectory(task=task, prefix_ids=(), steps=(), won=won, score=float(won), error=error)


def played():
    return [
        trajectory("nq", won=True),
        trajectory("musique", won=False),
        trajectory("nq", won=True),
        trajectory("musique", won=True),
        trajectory("nq", won=False),
        trajectory("nq", won=True, error="RetrievalError: gone"),
    ]


def test_every_data_set_has_its_rate():
    result = summarise(played(), CATEGORIES)
    sets = result["by_dataset"]
    assert list(sets) == ["nq", "musique"]
    assert [(r["n"], r["success"]) for r in sets.values()] == [(3, pytest.approx(2 / 3)), (2, 0.5)]
    assert result["dataset_mean"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert (result["n"], result["success"], result["errored"]) == (5, 0.6, 1)


def test_a_second_table_shows_them():
    result = summarise(played(), CATEGORIES) | {"skills": 0}
    plain = summarise([trajectory("", won=True)], CATEGORIES) | {"skills": 0}
    _, lines = results_table({"rl": {"a": result, "b": plain}}, CATEGORIES).split("\n\n")
    heading, *rows = [line.split() for line in lines.splitlines() if "%" in line or "rl" in line]
    assert heading == ["success", "%", "nq", "musique", "mean"]
    assert rows == [["rl", "a", "66.7", "50.0", "58.3"]]


def test_a_set_whose_episodes_all_failed_leaves_the_mean_open():
    failed = [trajectory("bamboogle", won=False, error="RetrievalError: gone")] * 2
    result = summarise([*failed, *played()], CATEGORIES) | {"skills": 0}
    sets = result["by_dataset"]
    assert list(sets) == ["bamboogle", "nq", "musique"]
    assert (sets["bamboogle"]["n"], sets["bamboogle"]["success"]) == (0, None)
    assert sets["nq"]["success"] == pytest.approx(2 / 3)
    assert result["dataset_mean"] is None
    assert (result["n"], result["errored"]) == (5, 3)
    assert '"success": null' in json.dumps(result, allow_nan=False)
    _, lines = results_table({"rl": {"a": result}}, CATEGORIES).split("\n\n")
    assert lines.splitlines()[-1].split() == ["rl", "a", "-", "66.7", "50.0", "-"]


def test_without_data_sets_nothing_changes():
    result = summarise([trajectory("", won=True)], CATEGORIES)
    assert not {"by_dataset", "dataset_mean"} & set(result)
    one = summarise([trajectory("nq", won=True)], CATEGORIES) | {"skills": 0}
    assert "\n\n" not in results_table({"rl": {"a": one}}, CATEGORIES)
    assert dataclasses.asdict(trajectory("", won=True))["task"]["payload"] == {}


def test_without_usable_episodes_nothing_is_claimed():
    lost = summarise([trajectory("", won=False, error="EnvironmentLost: gone")] * 3, CATEGORIES)
    assert [lost[key] for key in ("success", "low", "high", "score")] == [None] * 4
    assert (lost["n"], lost["errored"]) == (0, 3)
    assert lost["by_category"]["direct"]["success"] is None
    good = summarise([trajectory("", won=True)], CATEGORIES)
    both = {"rl": {"a": lost | {"skills": 0}, "b": good | {"skills": 2}}}
    heading, _, first, second = results_table(both, CATEGORIES).splitlines()
    assert heading.split()[2:5] == ["n", "errored", "all"]
    assert first.split() == ["rl", "a", "0", "3", "-", "-", "-", "0.0", "0"]
    assert second.split()[2:5] == ["1", "0", "100.0"]
    del both["rl"]["a"]
    assert "errored" not in results_table(both, CATEGORIES)
