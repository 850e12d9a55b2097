"""A run that examines its skills, and in which some members play without any."""

import shutil

import pytest

from skillrl.rollouts import store
from skillrl.skills.store import load_bank
from tests.pipeline import tiny

EPISODES = 2 * tiny.SETTINGS["rl"]["batch_size"]  # of training between two events


@pytest.fixture(scope="module")
def run(whole, flags, compiled, tmp_path_factory):
    """`skillrl rl` with examinations: its directory, and the command."""
    path = tmp_path_factory.mktemp("exams") / "run"
    arguments = flags(
        path,
        model={"policy_path": str(whole.path / "policy")},
        rl={"training_epochs": 2, "bare_members": 1},
        evolution={"exam_share": 1.0},
        evaluation={"quick_tasks": 0},
        checkpoint={"interval": 1},
        skill_retrieval={"order": "useful"},
    )
    command = ["rl", *arguments, f"--skill_bank={whole.path / 'distill' / 'bank.json'}"]
    status, _, err = tiny.run(*command)
    assert status == 0, err
    return path, command


def test_examinations_are_held_recorded_and_reported(run):
    path, _ = run
    played = list(store.read(path / "rl" / "exams" / "00002.jsonl"))
    assert 2 <= len(played) <= EPISODES
    assert {t.task.split for t in played} == {"train"}
    assert {t.policy_version for t in played} == {4}  # the policy after both iterations
    whole_arms = [t for t in played if t.member == 0]
    assert all(len(t.prefix_ids) < len(w.prefix_ids) for w in whole_arms for t in played
               if t.task == w.task and t.member)  # fmt: skip
    (event,) = tiny.rows(path / "rl" / "evolution.jsonl")
    assert event["exams"]["episodes"] == len(played)
    examined = event["exams"]["skills"]
    assert sum(entry["pairs"] for entry in examined.values()) == len(played) - len(whole_arms)
    bank = load_bank(path / "banks" / f"{event['bank_after']}.json")
    measured = {s.id: s.exams for s in bank.skills if s.exams.pairs}
    refined = {*event["refined"], *event["merged"]}
    assert set(measured) == set(examined) - refined  # new words are unmeasured
    assert {exams.step for exams in measured.values()} <= {2}
    rows = [row for row in tiny.rows(path / "metrics.jsonl") if row["phase"] == "rl"]
    assert "exam_episodes" not in rows[0]
    assert rows[1]["exam_episodes"] == len(played)


def test_bare_members_are_sampled_and_trained_without_skills(run):
    path, _ = run
    for number in (1, 2):
        played = list(store.read(path / "rl" / "trajectories" / f"{number:05d}.jsonl"))
        assert [bool(t.skills) for t in played] == [True, False] * 2
        shown, bare = played[:2]
        assert len(bare.prefix_ids) < len(shown.prefix_ids)
    for row in (row for row in tiny.rows(path / "metrics.jsonl") if row["phase"] == "rl"):
        assert row["sampler_gap_fresh"] < 1e-4  # trained on the prompt that was sampled from
        assert row["skill_gain"] == row["success"] == 0  # the policy speaks no English yet


def test_an_examination_is_repeated_to_the_letter_after_a_kill(run, tmp_path):
    path, command = run
    again = tmp_path / "run"
    shutil.copytree(path, again)
    shutil.rmtree(again / "checkpoints" / "rl" / "2")
    shutil.rmtree(again / "policy")
    for done in ("banks", "rl/exams"):  # what the second iteration wrote is written again
        assert any((again / done).iterdir())
    status, _, err = tiny.run(*(a.replace(str(path), str(again)) for a in command))
    assert status == 0, err
    found, wanted = tiny.contents(again), tiny.contents(path)
    for name in sorted(n for n in found | wanted if n.startswith(("rl/", "banks/", "policy/"))):
        assert found.get(name) == wanted.get(name), name
    rows = [
        [row for row in tiny.rows(run / "metrics.jsonl") if row["phase"] == "rl"]
        for run in (again, path)
    ]
    assert rows[0] == rows[1]
