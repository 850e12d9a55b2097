"""Run directory, files that are never half written, metrics, and what people watch."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest

from skillrl.config import presets
from skillrl.config.settings import Config
from skillrl.errors import Corrupt, SkillRLError, finally_do
from skillrl.io import atomic, files
from skillrl.io.console import Progress, table
from skillrl.phases import build
from skillrl.phases.events import Events
from skillrl.phases.leftovers import remove_leftovers
from skillrl.phases.run_directory import (
    Metrics,
    RunDirectory,
    append_jsonl,
    atomic_write,
    check_workdir,
    critical_section,
    describe_environment,
    read_json,
    read_jsonl,
    recorded_config,
    truncate_jsonl,
    write_json,
)
from skillrl.phases.wall import WallClock


def test_a_new_directory_gets_the_config_without_keys(tmp_path):
    config = Config.from_dict({"model": {"teacher_api_key": "sk-secret"}})
    with RunDirectory(tmp_path / "runs" / "a", config) as run:
        assert recorded_config(run.path) == Config()
    for path in run.path.rglob("*"):
        assert b"sk-secret" not in path.read_bytes()


def test_the_same_settings_continue(tmp_path):
    with RunDirectory(tmp_path, Config()) as run:
        run.finish("collect", episodes=3)
        assert run.finished("distill") is None
    longer = Config.from_dict({"rl": {"training_epochs": 151}})
    with RunDirectory(tmp_path, longer) as run:
        assert run.finished("collect") == {"episodes": 3}
        run.finish("distill")
        assert list(run.phases()) == ["collect", "distill"]
    assert recorded_config(tmp_path) == longer


def test_other_settings_are_refused_and_nothing_changes(tmp_path):
    with RunDirectory(tmp_path, Config()) as run:
        run.finish("collect")
    before = (tmp_path / "config.json").read_bytes()
    other = Config.from_dict({"rl": {"kl_coeff": 0.5}, "sft": {"epochs": 9}})
    with pytest.raises(SkillRLError) as caught:
        RunDirectory(tmp_path, other)
    assert "rl.kl_coeff was 0.01, now 0.5" in str(caught.value)
    assert "sft.epochs was 3, now 9" in str(caught.value)
    assert (tmp_path / "config.json").read_bytes() == before
    RunDirectory(tmp_path, Config()).close()  # and the lock was given back


@pytest.mark.parametrize("lock", [True, False])
def test_a_server_of_a_run_in_use_is_not_taken(tmp_path, monkeypatch, lock):
    """Who only reads the run puts policies elsewhere, and waits for its owner."""
    given = {}
    monkeypatch.setattr(build, "make_player", lambda *_, **named: given.update(named) or Made())
    config = Config.from_dict({"rollout": {"engine": "vllm"}})

    @dataclasses.dataclass
    class Made:
        note: object = None

    def opened(run):
        display = SimpleNamespace(note=None)
        session = SimpleNamespace(config=config, run=run, suite=None, seed=0, display=display)
        return build.open_player(session, object(), None)

    reads = RunDirectory(tmp_path, config, lock=False)
    said = r"in use by another process .*rollout server: wait"
    with RunDirectory(tmp_path, config), pytest.raises(SkillRLError, match=said):
        opened(reads)
    with RunDirectory(tmp_path, config, lock=lock) as run:
        opened(run)
        assert given["temporary"] is not lock
        assert given["directory"] == (tmp_path / "rl" / "published" if lock else tmp_path)
        if not lock:  # and the other way round
            with pytest.raises(SkillRLError, match=r"in use by another process .one that reads it"):
                RunDirectory(tmp_path, config)
            with RunDirectory(tmp_path, config, lock=False) as other:
                opened(other)  # it may have another server
    (tmp_path / ".lock").chmod(0o444)
    with RunDirectory(tmp_path, config), pytest.raises(SkillRLError, match=said):
        opened(reads)
    (tmp_path / ".lock").chmod(0o644)
    RunDirectory(tmp_path, config).close()


def test_runs_that_share_a_place_for_policies_have_parts_of_their_own(tmp_path):
    names = []
    for run in ("a", "b", "a"):
        with RunDirectory(tmp_path / run, Config()) as opened:
            names.append(opened.name())
    shutil.copytree(tmp_path / "a", tmp_path / "c")
    with RunDirectory(tmp_path / "c", Config()) as copied:
        names.append(copied.name())
    assert names[0] == names[2]
    assert len(set(names)) == 3


def test_a_run_without_output_takes_other_settings(tmp_path):
    """So that the advice of a refusal can be followed in the same directory."""
    with RunDirectory(tmp_path, Config()) as run:
        write_json(run.file("environment.json"), {})
        write_json(run.file("wall_seconds.json"), {"collect": 0.1})
        run.file("checkpoints", "sft").mkdir(parents=True)
    other = Config.from_dict({"rl": {"kl_coeff": 0.5}})
    with RunDirectory(tmp_path, other) as run:
        assert recorded_config(tmp_path) == other
        append_jsonl(run.file("collect", "trajectories.jsonl"), {})
    with pytest.raises(SkillRLError, match=r"rl\.kl_coeff was 0\.5, now 0\.01"):
        RunDirectory(tmp_path, Config())


@pytest.mark.parametrize("content", [None, '{"architectures": ["Qwen2ForCausalLM"]}', "{"])
def test_foreign_directories_are_refused_untouched(tmp_path, content):
    (tmp_path / "thesis.tex").write_text("years of work")
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(SkillRLError, match="nothing was touched"):
        RunDirectory(tmp_path, Config())
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_a_start_that_was_killed_at_once_can_be_repeated(tmp_path):
    (tmp_path / ".lock").write_text("pid 1")
    (tmp_path / f"{atomic.TEMPORARY}abc").write_text('{"half')
    with RunDirectory(tmp_path, Config()):
        assert sorted(os.listdir(tmp_path)) == [".lock", "config.json"]


def test_unwritable_places(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SkillRLError, match="is a file"):
        RunDirectory(tmp_path / "file", Config())
    with pytest.raises(SkillRLError, match=r"--workdir=.*cannot be used"):
        RunDirectory(tmp_path / "file" / "below", Config())


def test_unwritable_directory(tmp_path, monkeypatch):
    def denied(*arguments, **named):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "mkdir", denied)  # root, as in containers, is never denied
    with pytest.raises(SkillRLError, match=r"cannot be used \(Permission denied\)"):
        RunDirectory(tmp_path / "run", Config())


def test_a_full_disk_is_an_error_with_a_remedy(tmp_path, monkeypatch):
    def full(handle):
        raise OSError(28, "No space left on device")

    (tmp_path / "x").write_text("old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SkillRLError, match="No space left"):
        atomic_write(tmp_path / "x", "new")
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {"x": "old"}


def test_one_process_at_a_time(tmp_path):
    script = (
        "import sys; from skillrl.phases.run_directory import RunDirectory\n"
        "from skillrl.config.settings import Config\n"
        "run = RunDirectory(sys.argv[1], Config()); print('held', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(SkillRLError, match=f"in use by another process .pid {other.pid} "):
            RunDirectory(tmp_path, Config())
        RunDirectory(tmp_path, Config(), lock=False)  # reading is free
    finally:
        other.communicate("")
    RunDirectory(tmp_path, Config()).close()


def test_check_creates_nothing(tmp_path):
    check_workdir(tmp_path / "new", Config())
    assert not (tmp_path / "new").exists()


def test_atomic_write_replaces_all_or_nothing(tmp_path, monkeypatch):
    path = tmp_path / "deep" / "file.bin"
    atomic_write(path, "old")
    atomic_write(path, b"new")
    assert path.read_bytes() == b"new"

    def killed(source, target):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(SkillRLError, match=r"file\.bin"):
        atomic_write(path, "torn")
    assert os.listdir(path.parent) == ["file.bin"]
    assert path.read_bytes() == b"new"


def test_json_files(tmp_path):
    write_json(tmp_path / "a.json", {"é": [1, 2.5, None]})
    assert read_json(tmp_path / "a.json") == {"é": [1, 2.5, None]}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    (tmp_path / "b.json").write_text('{"half')
    (tmp_path / "deep.json").write_text("[" * 100_000)
    for name in ("b.json", "none.json", "deep.json"):
        with pytest.raises(SkillRLError, match=name):
            read_json(tmp_path / name)


def test_sealed_files_and_rows(tmp_path):
    path, lines = tmp_path / "a.json", tmp_path / "a.jsonl"
    value = {"é": [1, 2.5, None], "by": {"10": 1, "9": (2, 3)}}
    files.write_sealed(path, value)
    assert read_json(path) == files.read_sealed(path) == json.loads(json.dumps(value))
    files.append_sealed(lines, {"a": 1}, {"a": 2})
    assert list(read_jsonl(lines)) == [{"a": 1}, {"a": 2}]
    path.write_bytes(path.read_bytes().replace(b"2.5", b"2.4"))
    with pytest.raises(Corrupt, match=r"a\.json: is corrupt"):
        read_json(path)
    whole = lines.read_bytes()
    lines.write_bytes(whole.replace(b'"a": 2', b'"a": 3'))
    with pytest.raises(Corrupt, match=r"a\.jsonl, line 2: is corrupt"):
        list(read_jsonl(lines))
    with pytest.raises(Corrupt):
        truncate_jsonl(lines, lambda row: False)
    assert lines.read_bytes() == whole.replace(b'"a": 2', b'"a": 3')  # nothing was dropped
    lines.write_bytes(b'{"a": 1}\n')  # of one's own
    assert list(read_jsonl(lines)) == [{"a": 1}]
    with pytest.raises(Corrupt, match="checksum is missing"):
        list(read_jsonl(lines, required=True))


OTHER_SHAPES = ["[]", "{}", '{"sft": 1}', "null", '"x"', "[" * 10_000, "", '{"sft": {}}']


@pytest.mark.parametrize("content", OTHER_SHAPES)
def test_run_files_of_another_shape_are_one_message_with_a_way_out(tmp_path, content):
    with RunDirectory(tmp_path, Config()) as run, Metrics(run, tensorboard=False) as metrics:
        for name, read in {
            "phases.json": run.phases,
            "wall_seconds.json": WallClock(run.file("wall_seconds.json")).read,
            "metrics.jsonl": metrics.rows,
        }.items():
            run.file(name).write_text(content + "\n")
            with pytest.raises(SkillRLError, match=rf"{name}.*([Dd]elete it|is not JSON)"):
                read()


def test_sealed_content_of_another_shape_is_refused_too(tmp_path):
    """As another version might write it."""
    with RunDirectory(tmp_path, Config()) as run:
        files.write_sealed(run.file("phases.json"), {"sft": 1})
        with pytest.raises(SkillRLError, match=r"phases\.json: 'sft' is 1"):
            run.finished("sft")
        files.write_sealed(run.file("wall_seconds.json"), {"sft": "long"})
        with pytest.raises(SkillRLError, match=r"wall_seconds\.json: 'sft' is 'long'"):
            WallClock(run.file("wall_seconds.json")).read()


def test_a_changed_setting_in_the_recorded_config_is_refused(tmp_path):
    RunDirectory(tmp_path, Config()).close()
    path = tmp_path / "config.json"
    path.write_bytes(path.read_bytes().replace(b'"temperature": 1.0', b'"temperature": 9.0'))
    for read in (recorded_config, lambda run: presets.read_config(run / "config.json")):
        with pytest.raises(SkillRLError, match=r"config\.json: is corrupt"):
            read(tmp_path)


def test_what_killed_sessions_left_goes_and_the_rest_stays(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    alive, dead = os.getppid(), gone.pid
    RunDirectory(tmp_path, Config()).close()
    leftovers = [
        f".policy.{dead}.tmp/model.safetensors",
        f"sft/.policy.{dead}.tmp/config.json",
        f"sft/.policy.{dead}.old/config.json",
        f"teacher/{atomic.TEMPORARY}{dead}-abc",
        f"checkpoints/rl/{atomic.TEMPORARY}{dead}-abc/state/d",
        f"checkpoints/rl/{atomic.TEMPORARY}{dead}-abc.orbax-checkpoint-tmp/state/d",
        "checkpoints/rl/1.deleted/state/d",
        "checkpoints/rl/2.orbax-checkpoint-tmp-7/state/d",
    ]
    kept = [
        "sft/policy/config.json",
        f".policy.{alive}.tmp/model.safetensors",
        f"teacher/{atomic.TEMPORARY}{alive}-abc",
        "checkpoints/rl/3/state/d",
        "checkpoints/rl/4.corrupt/state/d",
        "checkpoints/rl/notes.deleted/mine",
        "rl/1.deleted/mine",
        ".policy.tmp/mine",
        f".notes.{dead}.tmp",
    ]
    for name in leftovers + kept:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    RunDirectory(tmp_path, Config()).close()
    found = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()}
    assert found == {*kept, "config.json", ".lock"}


def test_a_policy_whose_successor_never_came_is_put_back(tmp_path):
    (tmp_path / ".policy.999999999.old").mkdir()
    (tmp_path / ".policy.999999999.old" / "config.json").write_text("the policy")
    remove_leftovers(tmp_path)
    assert (tmp_path / "policy" / "config.json").read_text() == "the policy"
    assert os.listdir(tmp_path) == ["policy"]


def test_the_time_of_a_killed_session_counts(tmp_path, monkeypatch):
    clock = iter([0.0, 10.0, 40.0, 45.0, 100.0, 107.0, 108.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    path = tmp_path / "wall_seconds.json"
    killed = WallClock(path)
    phase = killed.timed("rl")
    phase.__enter__()  # and what a kill leaves out: the exit
    killed.note()
    assert not path.exists()  # 10 seconds are not worth a write
    killed.note()
    killed.note()
    assert killed.read() == {"rl": 40.0}
    later = WallClock(path)
    with later.timed("rl"):
        pass
    assert later.read() == {"rl": 47.0}
    phase.gen.close()


def test_the_first_cause_is_not_hidden_by_what_is_done_last():
    def end():
        done.append("end")
        raise OSError("the second")

    done: list[str] = []
    with pytest.raises(ValueError, match="the first") as caught, finally_do(end):
        raise ValueError("the first")
    assert caught.value.__notes__ == ["Then OSError: the second"]
    with pytest.raises(OSError, match="the second"), finally_do(end):
        done.append("block")
    assert done == ["end", "block", "end"]


def test_the_first_cause_is_not_hidden_by_the_clock(tmp_path):
    wall = WallClock(tmp_path / "wall_seconds.json")

    def fail():
        (tmp_path / "wall_seconds.json").write_text("[]")  # what cannot be added to
        raise ValueError("the first cause")

    with pytest.raises(ValueError, match="the first cause"), wall.timed("rl"):
        fail()
    with pytest.raises(SkillRLError, match="wall_seconds"), wall.timed("rl"):
        raise ValueError("is not reached")


def test_a_torn_line_is_no_row_and_heals(tmp_path):
    path = tmp_path / "rows.jsonl"
    append_jsonl(path, {"a": 1}, {"a": 2})
    with open(path, "ab") as file:
        file.write(b'{"a": 3, "torn": "')
    assert list(read_jsonl(path)) == [{"a": 1}, {"a": 2}]
    append_jsonl(path, {"a": 4})
    assert path.read_bytes() == b'{"a": 1}\n{"a": 2}\n{"a": 4}\n'


def test_a_file_that_is_one_torn_line_heals(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a"')
    assert list(read_jsonl(path)) == []
    append_jsonl(path, {"a": 1})
    assert path.read_bytes() == b'{"a": 1}\n'


def test_a_broken_line_in_the_middle_is_an_error(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": 1}\n{"a"\n{"a": 2}\n')
    with pytest.raises(SkillRLError, match="line 2"):
        list(read_jsonl(path))


def test_truncate_keeps_lines_as_they_are(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes('{"n":1}\n{"n": 2,  "t": "a\u2028b"}\n{"n":3}\n{"n":'.encode())
    assert truncate_jsonl(path, lambda row: row["n"] < 3) == 1
    assert path.read_bytes() == '{"n":1}\n{"n": 2,  "t": "a\u2028b"}\n'.encode()
    assert truncate_jsonl(tmp_path / "none.jsonl", lambda row: False) == 0


@pytest.fixture
def _interruptible():
    """A shell's background job begins with Ctrl-C ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_interruptible")
def test_ctrl_c_waits_for_the_write_in_hand():
    done = []
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012
        with critical_section(), critical_section():
            signal.raise_signal(signal.SIGINT)
            done.append("written")
        done.append("never")
    assert done == ["written"]
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)  # the old answer is back


def test_sigterm_waits_for_the_write_in_hand_too():
    done = []
    before = signal.signal(signal.SIGTERM, lambda *_: done.append("terminated"))
    try:
        with critical_section():
            signal.raise_signal(signal.SIGTERM)
            done.append("written")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert done == ["written", "terminated"]


def test_critical_section_does_not_hide_errors():
    with pytest.raises(ValueError, match="first"), critical_section():
        raise ValueError("first")


def test_critical_section_off_the_main_thread(tmp_path):
    thread = threading.Thread(target=atomic_write, args=(tmp_path / "x", "y"))
    thread.start()
    thread.join()
    assert (tmp_path / "x").read_text() == "y"


def test_metrics_rows_and_resume(tmp_path):
    with RunDirectory(tmp_path, Config()) as run:
        with Metrics(run, tensorboard=False) as metrics:
            for step in (1, 2, 3):
                metrics.write("sft", step, {"loss": 1.0 / step})
                metrics.write("rl", step, {"success": step / 10, "loss": float("nan")})
        with Metrics(run, tensorboard=False) as metrics:
            assert metrics.resume("rl", 1) == 2
            metrics.write("rl", 2, {"success": 0.9})
            assert [r["step"] for r in metrics.rows("sft")] == [1, 2, 3]
            assert metrics.rows("rl") == [
                {"phase": "rl", "step": 1, "success": 0.1, "loss": None},
                {"phase": "rl", "step": 2, "success": 0.9},
            ]
            for line in metrics.path.read_text().splitlines():
                assert "NaN" not in line
                json.loads(line)
        assert not (tmp_path / "tensorboard").exists()


def test_tensorboard_files_hold_the_numbers(tmp_path):
    from tensorboardX.proto.event_pb2 import Event

    with RunDirectory(tmp_path, Config()) as run:
        with Metrics(run) as metrics:
            metrics.write("rl", 3, {"success": 0.5})
        with Metrics(run) as metrics:
            metrics.resume("rl", 2)
            metrics.write("rl", 3, {"success": 0.75})
    events = []
    for path in sorted((tmp_path / "tensorboard" / "rl").iterdir()):
        data = path.read_bytes()
        while data:  # records: length (8 bytes), its checksum (4), event, checksum (4)
            size = int.from_bytes(data[:8], "little")
            events.append(Event.FromString(data[12 : 12 + size]))
            data = data[16 + size :]
    scalars = [(e.step, v.tag, v.simple_value) for e in events for v in e.summary.value]
    assert sorted(scalars) == [(3, "rl/success", 0.5), (3, "rl/success", 0.75)]
    assert 3 in [e.step for e in events if e.HasField("session_log")]  # hides the older one


def test_a_full_disk_is_told_by_the_events_at_once(tmp_path):
    """tensorboardX's own writer would wait for ever for its thread, which has died of it."""
    events = Events(tmp_path / "rl")
    events.add(1, {"rl/success": 0.5})
    (file,) = (tmp_path / "rl").iterdir()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (file.stat().st_size, hard))
    try:
        with pytest.raises(SkillRLError, match=r"rl: cannot be written .File too large"):
            events.add(2, {"rl/success": 0.5})
        with pytest.raises(SkillRLError, match=r"rl: cannot be written .File too large"):
            Events(tmp_path / "rl", purge=2).add(2, {"rl/success": 0.5, "x" * 100: 1.0})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_environment_names_versions_and_devices():
    found = describe_environment()
    assert found["versions"]["jax"]
    assert found["devices"]
    assert json.dumps(found)


def test_progress_off_a_terminal_speaks_every_tenth():
    out = io.StringIO()
    with Progress("collect", total=100, unit="episode", file=out) as progress:
        for _ in range(100):
            progress.update(success=0.25)
    lines = out.getvalue().splitlines()
    assert len(lines) == 10
    assert lines[0].startswith("collect: 10/100 episodes,")
    assert lines[-1].endswith("0s left, success 0.250")


def test_progress_estimates_from_this_session_alone(monkeypatch):
    clock = iter([0.0, 10.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    out = io.StringIO()
    progress = Progress("rl", total=100, unit="iteration", done=80, file=out)
    progress.update(10)
    assert out.getvalue() == "rl: 90/100 iterations, 10s spent, 10s left\n"


def test_progress_can_be_silent():
    out = io.StringIO()
    with Progress("rl", total=2, enabled=False, file=out) as progress:
        progress.update()
        progress.update()
    assert out.getvalue() == ""
    assert progress.done == 2


def test_table():
    text = table([["Pick", 0.5, 12], ["Look, far", None, 3]], ["category", "success", "n"])
    assert text == (
        "category   success   n\n"
        "---------  -------  --\n"
        "Pick         0.500  12\n"
        "Look, far        -   3"
    )
    with pytest.raises(ValueError, match="cells"):
        table([["a"]], ["x", "y"])


def test_something_is_shown_before_the_first_step_is_done(monkeypatch):
    """After five seconds, and then a minute after the last line; a bar shows it at once."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    out = io.StringIO()
    with Progress("rl", total=2, unit="iteration", file=out) as progress:
        for second in range(140):
            now[0] = float(second)
            progress.note(f"{second} of 500 episodes played")
    lines = out.getvalue().splitlines()
    assert lines == [
        "rl: 0/2 iterations, 5s spent, just begun, 5 of 500 episodes played",
        "rl: 0/2 iterations, 1m05s spent, just begun, 65 of 500 episodes played",
        "rl: 0/2 iterations, 2m05s spent, just begun, 125 of 500 episodes played",
    ]


@pytest.mark.parametrize(
    "row", [{"phase": "rl"}, {"phase": "rl", "step": 1, "kl": "0"}, {"phase": 1, "step": 1}]
)
def test_a_row_of_metrics_of_another_shape_is_named(tmp_path, row):
    with RunDirectory(tmp_path, Config()) as run, Metrics(run, tensorboard=False) as metrics:
        metrics.write("rl", 1, {"kl": float("nan"), "success": 1})
        assert metrics.rows() == [{"phase": "rl", "step": 1, "kl": None, "success": 1.0}]
        files.append_sealed(metrics.path, row)
        for read in (metrics.rows, lambda: metrics.resume("rl", 1)):
            with pytest.raises(SkillRLError, match=r"metrics\.jsonl: .* no row of metrics"):
                read()


@pytest.mark.parametrize(
    ("content", "kept"),
    [(b'{"a": 1}', b'{"a": 1}\n'), (b'1\n{"a"', b'1\n{"a"'), (b"1\n", b"1\n"), (b"", b"")],
)
def test_a_whole_last_line_of_another_tool_is_ended_and_a_torn_one_is_not(tmp_path, content, kept):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)
    files.end_last_line(path)
    assert path.read_bytes() == kept
