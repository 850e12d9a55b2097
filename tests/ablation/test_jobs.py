"""Processes side by side: order, room, failures, and the end of all when one is stopped."""

import os
import sys
import time

import pytest

from skillrl.ablation.jobs import Job, run_jobs
from skillrl.ablation.places import find_places
from skillrl.config.settings import MeshConfig
from skillrl.errors import SkillRLError


def job(folder, name, code, *after):
    def command():
        return [sys.executable, "-S", "-c", code, str(folder / "said")]

    return Job(name=name, command=command, after=after, log=folder / "logs" / f"{name}.log")


SAY = "import os, sys; open(sys.argv[1], 'a').write({!r} + '\\n')"


def test_jobs_wait_for_those_they_need(tmp_path):
    names = ["child", "other", "parent"]
    jobs = [
        job(tmp_path, "child", SAY.format("child"), "parent"),
        job(tmp_path, "other", SAY.format("other"), "child"),
        job(tmp_path, "parent", SAY.format("parent")),
    ]
    assert run_jobs(jobs, places=[{}, {}], say=lambda text: None) == []
    assert (tmp_path / "said").read_text().split() == ["parent", "child", "other"]
    assert sorted(p.stem for p in (tmp_path / "logs").iterdir()) == names


def test_a_failure_names_its_log_and_the_others_go_on(tmp_path):
    jobs = [
        job(tmp_path, "bad", "import sys; print('it broke'); sys.exit(3)"),
        job(tmp_path, "child", SAY.format("child"), "bad"),
        job(tmp_path, "grandchild", SAY.format("grandchild"), "child"),
        job(tmp_path, "good", SAY.format("good")),
    ]
    said = []
    failures = run_jobs(jobs, places=[{}], say=said.append)
    assert [failure.name for failure in failures] == ["bad", "child", "grandchild"]
    assert "status 3" in failures[0].why
    assert str(tmp_path / "logs" / "bad.log") in failures[0].why
    assert failures[1].why == "left out, as it needs bad"
    assert (tmp_path / "logs" / "bad.log").read_text() == "it broke\n"
    assert (tmp_path / "said").read_text() == "good\n"


def test_a_command_that_cannot_be_made_fails_alone_and_one_with_nothing_to_do_is_done(tmp_path):
    def refuse():
        raise SkillRLError("no parent")

    jobs = [
        Job(name="bad", command=refuse, log=tmp_path / "bad.log"),
        Job(name="idle", command=lambda: None, log=tmp_path / "idle.log"),
        job(tmp_path, "child", SAY.format("child"), "idle"),
    ]
    failures = run_jobs(jobs, places=[{}], say=lambda text: None)
    assert [(failure.name, failure.why) for failure in failures] == [("bad", "no parent")]
    assert (tmp_path / "said").read_text() == "child\n"
    assert not (tmp_path / "idle.log").exists()


def test_places_are_environments_of_their_own_and_never_shared(tmp_path):
    code = "import os, sys, time; time.sleep(0.3)\n" + SAY.format("x").replace(
        "'x'", "os.environ['PLACE']"
    )
    jobs = [job(tmp_path, str(number), code) for number in range(4)]
    run_jobs(jobs, places=[{"PLACE": "a"}, {"PLACE": "b"}], say=lambda text: None)
    assert sorted((tmp_path / "said").read_text().split()) == ["a", "a", "b", "b"]


def test_what_runs_is_ended_when_the_command_is_stopped(tmp_path):
    code = SAY.format("x").replace("'x'", "str(os.getpid())") + "; import time; time.sleep(60)"

    def say(text):
        while not (tmp_path / "said").exists():
            time.sleep(0.05)
        raise KeyboardInterrupt

    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_jobs([job(tmp_path, "long", code)], places=[{}], say=say)
    assert time.monotonic() - start < 20
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "said").read_text()), 0)


def test_gpus_are_dealt_out(monkeypatch):
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3,5")
    assert find_places(None, MeshConfig()) == [
        {"CUDA_VISIBLE_DEVICES": name} for name in ("2", "3", "5")
    ]
    assert find_places(None, MeshConfig(data=2)) == [{"CUDA_VISIBLE_DEVICES": "2,3"}]
    assert find_places(None, MeshConfig(fsdp=-1)) == [{"CUDA_VISIBLE_DEVICES": "2,3,5"}]
    with pytest.raises(SkillRLError, match="at most 1 can run at once"):
        find_places(2, MeshConfig(data=2))


def test_on_cpus_a_process_has_two_cores(monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(7)))
    assert find_places(None, MeshConfig()) == [{}] * 3
    assert find_places(5, MeshConfig()) == [{}] * 5
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0})
    assert find_places(None, MeshConfig()) == [{}]
