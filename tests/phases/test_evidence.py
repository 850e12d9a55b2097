"""Trajectories that a bank names are found again in the files of its run."""

from skillrl.config.settings import Config
from skillrl.phases import evidence
from skillrl.phases.run_directory import RunDirectory
from skillrl.rollouts import store
from tests.skills.builders import HEAT, WIN_CLEAN, played


def test_they_are_found_wherever_they_were_played(tmp_path):
    first = played(WIN_CLEAN, won=True)
    again = played(WIN_CLEAN[:2], task="0001")
    later = played([], category=HEAT, task="0002", policy_version=7, error="gone")
    with RunDirectory(tmp_path / "run", Config()) as run:
        assert evidence.find(run, [first.id]) == {}
        store.write(run.file("collect", "trajectories.jsonl"), [first])
        store.write(run.file("rl", "trajectories", "00002.jsonl"), [later])
        store.write(run.file("rl", "trajectories", "00001.jsonl"), [again])
        exam = played([], task="0003")
        store.write(run.file("rl", "exams", "00002.jsonl"), [exam])
        found = evidence.find(run, [first.id, later.id, exam.id, "train/9#policy.v0.m0.r0"])
    clean, heat = "pick_clean_then_place_in_recep", HEAT
    assert found.pop(exam.id).endswith("lost in 0 steps; rl/exams/00002.jsonl")
    assert found == {
        first.id: (
            f"'put a clean mug in cabinet' ({clean}): won in 7 steps; collect/trajectories.jsonl"
            f" / 'put a clean mug in cabinet' ({clean}): lost in 2 steps; "
            "rl/trajectories/00001.jsonl"
        ),
        later.id: (
            f"'heat some egg and put it in fridge' ({heat}): environment failed in 0 steps; "
            "rl/trajectories/00002.jsonl"
        ),
    }
