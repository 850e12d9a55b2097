"""What is read back of runs and evaluations, and the tables made of it."""

import pytest

from skillrl.ablation.arms import FINAL, Played
from skillrl.ablation.numbers import answer
from skillrl.ablation.report import PAPER, answers_table, cost_table, draw, success_table
from skillrl.ablation.results import Cost, read_cost, read_curve, read_evaluated
from skillrl.ablation.statistics import Speed, pooled_rate
from skillrl.cli.ablation import read_seeds
from skillrl.errors import SkillRLError
from skillrl.io.files import append_sealed, write_json, write_sealed
from skillrl.rollouts import store
from tests.skills.builders import CIRCLES, WIN_CLEAN, played


def result(folder, name, *banks):
    rate = {"success": 0.5, "n": 2}
    write_json(
        folder / f"{name}.json",
        {
            "arms": {bank: {"valid_unseen": rate} for bank in banks},
            "trajectories": {bank: {"valid_unseen": f"{name}.jsonl"} for bank in banks},
        },
    )


def test_results_are_found_by_policy_training_and_bank(tmp_path):
    result(tmp_path, "sft.base.0.none+initial", "none", "initial")
    result(tmp_path, "sft.base.0.16.final", "/x/7.json", "neutral:/x/7.json", "none")
    result(tmp_path, "sft.base.0.20.final", "/x/9.json")
    result(tmp_path, "full.rl.16.own", "own", "none")

    def banks(*epochs):
        found = read_evaluated(tmp_path, run="sft", checkpoint="base", epochs=epochs)
        assert {(p.run, p.checkpoint) for p in found} == {("sft", "base")}
        return {p.bank for p in found}

    assert banks(0) == {"none", "initial"}
    assert banks(0, 16) == {FINAL, f"neutral:{FINAL}", "none"}
    assert banks(0, 20) == {FINAL}
    assert read_evaluated(tmp_path, run="full", checkpoint="rl", epochs=[20]) == {}


def test_outcomes_leave_out_what_errored(tmp_path):
    result(tmp_path, "sft.sft.0.own", "own")
    store.write(
        tmp_path / "sft.sft.0.own.jsonl",
        [
            played(WIN_CLEAN, won=True, task="1", split="valid_unseen"),
            played(CIRCLES, task="2", split="valid_unseen"),
            played(CIRCLES, task="3", split="valid_unseen", error="broke"),
        ],
    )
    (found,) = read_evaluated(tmp_path, run="sft", checkpoint="sft", epochs=[0]).values()
    assert found.outcomes("valid_unseen") == {
        ("valid_unseen/1", 0): True,
        ("valid_unseen/2", 0): False,
    }


def test_a_file_of_something_else_is_named(tmp_path):
    write_json(tmp_path / "sft.sft.0.own.json", {"arms": {"own": {}}})
    with pytest.raises(SkillRLError, match=r"sft\.sft\.0\.own\.json: not a result of evaluate"):
        read_evaluated(tmp_path, run="sft", checkpoint="sft", epochs=[0])


def test_costs_are_added_up(tmp_path):
    parent, run = tmp_path / "parent", tmp_path / "run"
    assert read_curve(run) == []
    write_sealed(parent / "wall_seconds.json", {"collect": 10.0, "sft": 20.0, "rl": 1.0})
    write_sealed(run / "wall_seconds.json", {"rl": 100.0, "evaluate rl": 5.0})
    write_sealed(run / "distill" / "bank-report.json", {"counts": {"asked": 3}})
    append_sealed(run / "rl" / "evolution.jsonl", {"requests": 2, "exams": {"episodes": 8}})
    append_sealed(run / "rl" / "evolution.jsonl", {"requests": 1, "exams": {"episodes": 0}})
    for row in (
        {"phase": "sft", "step": 1, "loss": 1.0},
        {"phase": "rl", "step": 1, "episodes": 64.0, "success": 0.25},
        {"phase": "rl", "step": 2, "episodes": 63.0, "success": 0.5},
    ):
        append_sealed(run / "metrics.jsonl", row)
    assert read_cost(run, parent=parent, shares=("collect", "sft")) == Cost(
        seconds=105.0,
        shared_seconds=30.0,
        teacher_requests=6,
        episodes=127,
        exam_episodes=8,
        skills=None,
    )
    assert read_curve(run) == [0.25, 0.5]


def test_the_paper_stands_beside_the_headline_of_an_arm_alone():
    rate = pooled_rate([{"success": 0.5, "n": 10}, {"success": 0.7, "n": 10}])
    rows = [("full", "rl", bank, {"valid_unseen": rate}, {}) for bank in ("own", "initial")]
    first, second = success_table(rows, ["valid_unseen"], "alfworld").splitlines()[2:]
    assert first.startswith("full: rl, own")
    assert "60.0" in first
    assert first.endswith("89.9")
    assert second.endswith("-")
    assert PAPER["webshop"]["no_evolution"] == 70.3


def test_answers_say_what_is_wanted_and_whether_it_is_met():
    def look(seed, arm):
        won = {"own": [1, 1, 1, 0], "none": [0, 0, 1, 0]}.get(arm.bank)
        if arm.run != "sft" or arm.checkpoint != "sft" or won is None:
            return None
        return {(str(at), 0): bool(one) for at, one in enumerate(won)}

    speed = Speed(level=0.5, first=4, second=None, ratio=0.5, at_most=True)
    text = answers_table(answer("alfworld", [0, 1], look), speed, "alfworld")
    first, last = text.splitlines()[2:]
    assert first.split("  ")[0] == "after the cold start, own - none"
    assert "+50.0" in first
    assert first.endswith(">= +15  yes")
    assert "<= 0.50" in last
    assert "4 / never iterations" in last
    assert last.endswith("<= 0.6  yes")
    assert Played(run="a", checkpoint="rl", bank="own").needs == ("a",)


def test_a_plot_without_matplotlib_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(SkillRLError, match="pip install matplotlib"):
        draw(tmp_path / "plot.png", {"full": [[0.5]]}, title="")


def test_costs_have_dashes_where_nothing_is_known():
    assert cost_table({"full": []}, {}).splitlines()[2].split() == ["full", *"--------"]


def test_seeds():
    assert read_seeds("0, 1,2") == (0, 1, 2)
    for text in ("", "0,,1", "-1", "1.5", "1,1", "9" * 19):
        with pytest.raises(SkillRLError, match="--seeds"):
            read_seeds(text)
