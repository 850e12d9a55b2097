"""A whole run on the environment of docs/new_environment.md, in miniature."""

from __future__ import annotations

import pytest

from skillrl.envs import registered
from skillrl.io.files import read_json
from skillrl.rollouts import store
from tests.docs import write_automat
from tests.pipeline import tiny


@pytest.mark.slow
def test_all_phases_run_on_the_automat(compiled, flags, tmp_path):
    write_automat(tmp_path)
    module = {"name": "automat", "module": str(tmp_path / "automat.py")}
    arguments = flags(
        tmp_path / "run",
        env={**module, "max_steps": 4},
        collect={"episodes": 2, "expert_episodes": 8},
        sft={"epochs": 1},
        rl={"training_epochs": 1, "warmup_iterations": 0},
        evaluation={"max_tasks": 2, "final_splits": ["valid_unseen"]},
    )
    with registered():
        status, out, err = tiny.run("train", *arguments)
    assert status == 0, err
    assert "environment (automat, a toy automat)" in out
    assert "With fork" in out
    summary = read_json(tmp_path / "run" / "summary.json")
    assert summary["eval"]["rl"]["valid_unseen"]["n"] == 2
    shown = list(store.read(tmp_path / "run/collect/trajectories.jsonl"))
    assert [t.won for t in shown if t.source == "expert"].count(True) >= 1
    assert {t.task.payload["tool"] for t in shown} <= {"fork", "knife", "spoon"}
