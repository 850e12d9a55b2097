"""An arm against none: recovery, regression, and the paired difference, counted by hand."""

import dataclasses

import pytest

from skillrl.evaluation.contrasts import arms_table, contrast
from skillrl.evaluation.evaluate import manifest_hash, results_table, summarise
from skillrl.evaluation.intervals import mean_interval, paired_difference
from skillrl.types import Step, Task
from tests.evaluation.test_repeats import episodes


def test_one_pair_a_task():
    found = contrast(episodes(*"wwwll"), episodes(*"wllwl"))
    low, high = paired_difference(2, 1, n=5)
    assert found == {
        "tasks": 5,
        "recovery": 0.4,
        "regression": 0.2,
        "difference": pytest.approx(0.2),
        "low": low,
        "high": high,
    }


def test_several_pairs_a_task_count_as_one():
    found = contrast(episodes("ww", "wl", "ll"), episodes("ll", "lw", "ll"))
    # t0 gains both; t1 gains one and loses one; t2 neither: gains 1, 0, 0.
    assert (found["recovery"], found["regression"]) == (pytest.approx(0.5), pytest.approx(1 / 6))
    assert found["difference"] == pytest.approx(1 / 3)
    assert (found["low"], found["high"]) == paired_difference(1, 0, n=3)
    found = contrast(episodes("ww", "wl"), episodes("wl", "ll"))
    assert (found["low"], found["high"]) == mean_interval([0.5, 0.5], low=-1, high=1)
    assert found["difference"] == 0.5


def test_only_whole_pairs_count_in_whatever_order():
    played, without = episodes("we", "wl", "w"), episodes("lw", "ew", "e")
    found = contrast(played, list(reversed(without)))
    assert (found["tasks"], found["recovery"], found["regression"]) == (2, 0.5, 0.5)
    assert contrast(episodes("e"), episodes("w")) == {
        "tasks": 0,
        **dict.fromkeys(("recovery", "regression", "difference", "low", "high")),
    }


def test_the_tables():
    task = Task(id="t", split="v", category="pick", goal="go")
    step = Step(
        observation="", admissible=(), suffix_ids=(1, 2), response_ids=(), logprobs=(),
        response="", action="",
    )  # fmt: skip
    (won,) = episodes("w")
    won = dataclasses.replace(won, task=task, prefix_ids=(7,) * 4, steps=(step,) * 3, skills=("a",))
    lost = dataclasses.replace(won, won=False, steps=(step,) * 5, skills=())
    own, none = (
        summarise([one], {"pick": "Pick"}) | {"skills": 3, "skill_tokens": 3.0}
        for one in (won, lost)
    )
    assert (own["steps_on_wins"], own["prompt_tokens"], own["skills_per_task"]) == (3, 6, 1)
    assert (none["steps_on_wins"], none["prompt_tokens"], none["skills_per_task"]) == (None, 6, 0)
    own["against_none"] = contrast([won], [lost])
    _, _, first, second = arms_table({"own": {"v": own}, "none": {"v": none}}).splitlines()
    low, high = paired_difference(1, 0, n=1)
    interval = f"{100 * low:+.1f} to {100 * high:+.1f}".split()
    assert first.split() == [
        "own",
        "v",
        *["1.0", "3.0", "6.0", "3.0", "100.0", "0.0", "+100.0"],
        *interval,
    ]
    assert second.split() == ["none", "v", *["0.0", "3.0", "6.0", "-", "-", "-", "-", "-"]]
    own["pass_at"] = {
        "1": {"rate": 0.5, "tasks": 8, "low": 0.25, "high": 0.75},
        "2": {"rate": 0.75, "tasks": 7, "low": 0.5, "high": 0.9},
    }
    first, second = results_table({"rl": {"v": own}}, {"pick": "Pick"}).split("\n\n")
    assert first.splitlines()[2].split()[2:5] == ["1", "100.0", "25.0-75.0"]
    assert [line.split() for line in second.splitlines()[2:]] == [
        ["rl", "v", "pass@1", "8", "50.0", "25.0-75.0"],
        ["rl", "v", "pass@2", "7", "75.0", "50.0-90.0"],
    ]


def test_a_manifest_is_named_by_its_tasks_in_order():
    tasks = [Task(id=str(n), split="v", category="pick", goal="gö") for n in range(3)]
    name = manifest_hash(tasks)
    assert name == manifest_hash([dataclasses.replace(t, payload={"seed": 1}) for t in tasks])
    assert len(name) == 16
    int(name, 16)
    others = [tasks[::-1], tasks[:2]]
    others += [
        [dataclasses.replace(tasks[0], **{field: "x"}), *tasks[1:]]
        for field in ("id", "goal", "category")
    ]
    assert len({name, *map(manifest_hash, others)}) == 6
    # SHA-256 of [["0", "g\u00f6", "pick"]], as json.dumps writes it.
    assert manifest_hash(tasks[:1]) == "23fe493c975be1c4"
