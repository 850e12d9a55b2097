"""The phases as a person types them, one after the other, with files of their own."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path

import pytest

from skillrl.config.settings import Config
from skillrl.errors import Corrupt, SkillRLError
from skillrl.io.files import read_json
from skillrl.phases import prerequisites
from skillrl.phases.run_directory import RunDirectory
from skillrl.skills.store import load_bank
from tests.pipeline import tiny

pytestmark = pytest.mark.slow  # six commands

SEQUENCE = """
collect --episodes 4 --output data/trajectories.json
distill --trajectories data/trajectories.json --output data/skill_bank.json
inspect data/skill_bank.json
sft --skill-bank data/skill_bank.json --num-examples 7500
rl --skill-bank data/skill_bank.json
evaluate --checkpoint sft
"""


@pytest.fixture(scope="module")
def typed(compiled, policy, tmp_path_factory):
    """What each command said, typed in an empty directory that has only a file of settings."""
    folder, said = tmp_path_factory.mktemp("typed"), {}
    few = {
        "model": {"policy_path": str(policy)},
        "sft": {"epochs": 1, "num_examples": 0},
        "train_batch": {"response_buckets": [64]},  # that of the longest of all examples
        "rl": {"training_epochs": 1, "warmup_iterations": 0},
        "evolution": {"enabled": False},
        "evaluation": {"max_tasks": 2, "quick_tasks": 0},
    }
    (folder / "few.json").write_text(json.dumps(tiny.merged(tiny.SETTINGS, few)))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for line in SEQUENCE.split("\n")[1:-1]:
            more = [] if line.startswith("inspect") else ["--config=few.json"]
            status, out, err = tiny.run(*shlex.split(line), *more)
            assert status == 0, (line, err)
            said[line] = out
    return folder, said


def test_it_runs_as_typed_in_one_directory(typed):
    folder, said = typed
    assert len(said) == 6
    assert [path.name for path in (folder / "runs").iterdir()] == ["alfworld-few-seed0"]
    run = folder / "runs" / "alfworld-few-seed0"
    assert (run / "policy" / "config.json").is_file()
    assert (folder / "data" / "trajectories.json").is_file()
    assert not (run / "collect").exists()
    assert set(read_json(run / "phases.json")) == {"sft"}


def test_fewer_examples_than_asked_for_are_said(typed):
    folder, said = typed
    rows = tiny.rows(folder / "runs" / "alfworld-few-seed0" / "sft" / "examples.jsonl")
    out = said["sft --skill-bank data/skill_bank.json --num-examples 7500"]
    assert f"{len(rows)} examples, fewer than the 7500 asked for" in out
    assert "collect.expert_episodes" in out


def test_the_bank_of_the_cold_start_is_the_one_that_was_named(typed):
    folder, _ = typed
    run = folder / "runs" / "alfworld-few-seed0"
    named = load_bank(folder / "data" / "skill_bank.json")
    assert load_bank(run / "sft" / "bank.json") == named
    summary = read_json(run / "summary.json")
    assert summary["bank"]["initial"] == len(named)


def test_what_retrieval_finds_is_in_the_metrics(typed):
    folder, _ = typed
    rows = tiny.rows(folder / "runs" / "alfworld-few-seed0" / "metrics.jsonl")
    for phase in ("sft_retrieval", "rl_retrieval"):
        (row,) = [row for row in rows if row["phase"] == phase]
        assert row["tasks"] > 0
        assert row["tasks_without_skills"] <= row["tasks"]
        assert row["task_skills"] > 0


def test_a_run_without_evaluations_shows_no_empty_table(typed):
    _, said = typed
    out = said["rl --skill-bank data/skill_bank.json"]
    assert "success" not in out
    assert out.splitlines()[3].startswith("skills:")


@pytest.fixture
def run(tmp_path):
    with RunDirectory(tmp_path / "run", Config()) as opened:
        yield opened


def file(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")
    return path


def test_where_trajectories_are_looked_for(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SkillRLError, match="--trajectories"):
        prerequisites.trajectories(run)
    own = file(run.file("collect", "trajectories.jsonl"))
    assert prerequisites.trajectories(run) == own  # of a phase that was not finished
    elsewhere = file(tmp_path / "data" / "t.jsonl")
    prerequisites.remember(run, "collect", Path("data/t.jsonl"))
    monkeypatch.chdir("/")
    assert prerequisites.trajectories(run) == elsewhere
    given = file(tmp_path / "mine.jsonl")
    assert prerequisites.trajectories(run, str(given)) == given
    run.finish("collect")  # the run's own, whole at last
    assert prerequisites.trajectories(run) == own


def test_a_copied_run_has_its_own_output_and_a_later_phase_its_own_file(run, tmp_path):
    inside = file(run.file("mine", "t.jsonl"))
    prerequisites.remember(run, "collect", inside)
    shutil.copytree(run.path, tmp_path / "copy")
    copy = RunDirectory(tmp_path / "copy", Config(), lock=False)
    assert prerequisites.trajectories(copy) == copy.path / "mine" / "t.jsonl"
    own = file(run.file("collect", "trajectories.jsonl"))
    prerequisites.forget(run, "collect")
    assert prerequisites.trajectories(run) == own


def test_a_run_that_has_finished_a_phase_keeps_its_own(run, tmp_path):
    own = file(run.file("distill", "bank.json"))
    run.finish("distill")
    prerequisites.remember(run, "distill", file(tmp_path / "copy.json"))
    assert prerequisites.first_bank(run) == own
    assert not run.file("outputs.json").exists()


def test_an_output_that_has_gone_is_named(run, tmp_path):
    elsewhere = file(tmp_path / "bank.json")
    prerequisites.remember(run, "distill", elsewhere)
    assert prerequisites.first_bank(run) == elsewhere
    elsewhere.unlink()
    with pytest.raises(SkillRLError, match=r"bank\.json: distill wrote it there .* --skill_bank"):
        prerequisites.bank(run, None)


def test_notes_that_were_tampered_with_are_corrupt(run, tmp_path):
    prerequisites.remember(run, "distill", file(tmp_path / "bank.json"))
    notes = run.file("outputs.json")
    notes.write_text(notes.read_text().replace("bank.json", "tank.json"))
    with pytest.raises(Corrupt, match=r"outputs\.json"):
        prerequisites.first_bank(run)


def test_rl_begins_with_the_bank_of_the_cold_start_where_no_other_is(run):
    bank = file(run.file(*prerequisites.SFT_BANK))
    assert prerequisites.first_bank(run) == bank
    own = file(run.file("distill", "bank.json"))
    assert prerequisites.first_bank(run) == own
