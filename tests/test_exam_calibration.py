"""The benchmark of examinations: its planted banks, and that both of its modes run."""

import json
import re
from pathlib import Path

import pytest

from benchmarks import exam_calibration
from benchmarks.exams.planted import PLANTED, WORTHS
from skillrl.config.settings import Config
from skillrl.envs import make_suite
from skillrl.skills.utility import RETIRE_LEVEL
from skillrl.types import GENERAL


@pytest.mark.parametrize("env", PLANTED)
def test_planted_banks_have_four_skills_of_each_worth(env):
    planted = PLANTED[env]()
    kinds = list(planted.worth.values())
    assert {kind: kinds.count(kind) for kind in WORTHS} == dict.fromkeys(WORTHS, 4)
    assert {skill.id for skill in planted.bank.skills} == set(planted.worth)
    known = {*make_suite(env, Config().env).categories, GENERAL}
    assert {skill.category for skill in planted.bank.skills} <= known


def test_the_simulated_mode_prints_and_writes(tmp_path, capsys):
    path = tmp_path / "found.json"
    exam_calibration.main(["--simulated", "--seeds=1", "--events=1", f"--json={path}"])
    out = capsys.readouterr().out
    assert f"paired, {100 * RETIRE_LEVEL:g} %" in out
    rows = json.loads(path.read_text())["simulated"]
    assert len(rows) == 3 * len(exam_calibration.BUDGETS)
    assert all(row["episodes"] <= 512 for row in rows)


def test_the_table_is_that_of_the_results():
    folder = Path(exam_calibration.__file__).parent
    said = [
        [cell.strip().split(" (")[0] for cell in line.strip("| \n").split("|")]
        for line in (folder / "README.md").read_text().splitlines()
        if re.match(r"\| (paired|same task|unpaired), ", line)
    ]
    rows = [
        row
        for name in ("exam_calibration", "exam_calibration_long")
        for row in json.loads((folder / "results" / f"{name}.json").read_text())["simulated"]
    ]
    found = {
        (row["design"], row["level"], row["events"], round(row["episodes"])): [
            *(100 * row["retired"][worth] for worth in ("helpful", "neutral", "harmful")),
            100 * row["coverage"],
        ]
        for row in rows
    }
    assert len(said) == len(rows)
    for label, episodes, *percents in said:
        design, level, *rest = label.split(", ")
        events = int(rest[0].split()[0]) if rest else 8
        key = (design, float(level.split()[0]) / 100, events, int(episodes.replace(",", "")))
        assert [float(p) for p in percents] == pytest.approx(found[key], abs=0.051), label


@pytest.mark.examples
def test_a_policy_plays(tmp_path, capsys):
    path = tmp_path / "found.json"
    exam_calibration.main(["--seeds=1", "--events=1", "--episodes=4", f"--json={path}"])
    (row,) = json.loads(path.read_text())["rows"]
    assert 2 <= row["episodes"] <= 4
    assert 1 <= sum(found["pairs"] for found in row["found"].values()) < row["episodes"]
    assert "harmful" in capsys.readouterr().out
