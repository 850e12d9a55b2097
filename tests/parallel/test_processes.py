"""Several processes as one: values, errors and deaths, with real processes on this machine."""

from __future__ import annotations

import json
import time

import pytest

from skillrl.errors import SkillRLError
from skillrl.io import atomic, files
from skillrl.parallel import alarm, joining, processes
from skillrl.phases import stopping
from tests.hosts import HOST, run, says


def lines(text: str) -> list[str]:
    """Lines that are a script's own, not JAX's."""
    return [line for line in text.splitlines() if line.startswith(("=", "error:", "skillrl:"))]


# --- alone ------------------------------------------------------------------------------


def test_one_process_is_plain_python():
    made = object()
    assert processes.on_first("x", lambda: made) is made
    assert processes.together("x", lambda: made) == [made]
    assert (processes.count(), processes.index(), processes.is_first()) == (1, 0, True)
    assert processes.share(3) == [0, 1, 2]
    processes.wait_for_all("x")
    processes.check_same("train", {"a": 1})

    def fail() -> None:
        raise SkillRLError("no")

    with pytest.raises(SkillRLError, match=r"^no$"):
        processes.on_first("x", fail)


def test_differences_of_settings_are_named():
    one, other = {"rl": {"a": 1, "b": [2]}, "c": 3}, {"rl": {"a": 1, "b": [4]}, "c": 3}
    assert processes._differences(one, other) == ["rl.b is [4] there and [2] here"]
    assert processes._differences(one, one) == []


def test_who_is_kept_out_writes_nothing_there(tmp_path):
    run, other = tmp_path / "run", tmp_path / "other"
    with atomic.keep_out(run):
        files.write_sealed(run / "a.json", {"a": 1})
        files.append_sealed(run / "rows.jsonl", {"a": 1})
        files.write_json(other / "a.json", 1)
        assert not run.exists()
        assert files.read_json(other / "a.json") == 1
    files.append_sealed(run / "rows.jsonl", {"a": 1}, {"a": 2})
    with atomic.keep_out(run):
        assert files.truncate_jsonl(run / "rows.jsonl", lambda row: False) == 0
    assert [row["a"] for row in files.read_jsonl(run / "rows.jsonl")] == [1, 2]


# --- together -----------------------------------------------------------------------------


def test_values_go_round_exactly_and_in_order(tmp_path):
    act = """
    numbers = [0.1, 1e-300, -0.0, 3.0000000000000004, float("nan")]
    first = processes.on_first("one", lambda: {"who": processes.index(), "numbers": numbers})
    every = processes.together("two", lambda: [processes.index()] * (1 + processes.index()))
    big = processes.together("three", lambda: os.urandom(3_000_000).hex() if first["who"] else "")
    nested = processes.on_first("four", lambda: processes.together("five", lambda: "alone"))
    again = processes.on_first("six", lambda: (1, 2), encode=list, decode=tuple)
    assert len(processes.on_first("seven", lambda: os.urandom(3_000_000).hex())) == 6_000_000
    print("printed once")
    say("=" + json.dumps([first, every, nested, again, processes.share(5)]))
    """
    statuses, found = run(tmp_path, act, count=3)
    assert statuses == [0, 0, 0], found
    told = [json.loads(lines(text)[0][1:]) for text in found]
    numbers = '{"who": 0, "numbers": [0.1, 1e-300, -0.0, 3.0000000000000004, NaN]}'
    assert [json.dumps(one[0]) for one in told] == [numbers] * 3
    assert [one[1:4] for one in told] == [[[[0], [1, 1], [2, 2, 2]], ["alone"], [1, 2]]] * 3
    assert [one[4] for one in told] == [[0, 3], [1, 4], [2]]
    assert ["printed once" in text for text in found] == [True, False, False]


def test_an_error_of_one_is_raised_by_all_with_its_name(tmp_path):
    act = """
    def fail(who, kind=SkillRLError):
        if processes.index() == who:
            raise kind("the server is gone")

    for work in (lambda: processes.on_first("a", lambda: fail(0, Corrupt)),
                 lambda: processes.together("b", lambda: fail(1))):
        try:
            work()
        except SkillRLError as error:
            say(f"={type(error).__name__}: {error}")
    processes.together("c", lambda: fail(1))
    """
    statuses, found = run(tmp_path, act)
    assert statuses == [2, 2], found
    said = f"process 1 on {HOST}: the server is gone"
    wanted = ["=Corrupt: the server is gone", f"=SkillRLError: {said}"]
    assert [lines(text) for text in found] == [[*wanted, f"error: SkillRLError {said}"]] * 2


def test_processes_started_with_other_settings_are_refused(tmp_path):
    act = """
    processes.check_same("train", {"settings": {"seed": processes.index()}})
    """
    statuses, found = run(tmp_path, act)
    assert statuses == [2, 2], found
    for text in found:
        assert f"process 1 on {HOST} was started otherwise" in text
        assert "settings.seed is 1 there and 0 here" in text


# --- errors and deaths ---------------------------------------------------------------------


@pytest.mark.parametrize("who", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_an_error_on_one_ends_the_others_with_its_name(tmp_path, who):
    act = f"""
    if processes.index() == {who}:
        open("failed", "w").write(str(time.time()))
        raise SkillRLError("the disk is full.")
    time.sleep(100)
    """
    statuses, found = run(tmp_path, act, count=3)
    assert time.time() - float((tmp_path / "failed").read_text()) < 30
    assert statuses == [2, 2, 2], found
    for number, text in enumerate(found):
        wanted = "error: SkillRLError the disk is full."
        if number != who:
            wanted = f"skillrl: error: process {who} on {HOST}: the disk is full. This process"
        (line,) = lines(text)
        assert line.startswith(wanted)


def test_limits_add_up_to_less_than_thirty_seconds():
    looks = alarm.SILENCE + 2  # the one that heard it last, and the one that counts it as dead
    said = 3 * alarm.BEAT  # in which the others look once more, before the first one goes
    assert looks * alarm.BEAT + said < 30
    assert (alarm.SILENCE + 4) * alarm.BEAT + said < 30  # an error that may be another's death
    assert joining.HEARTBEAT <= 20
    assert stopping.WAIT + said < 30


@pytest.mark.slow
@pytest.mark.parametrize("who", [0, 1])
def test_a_death_ends_the_others(tmp_path, who):
    act = f"""
    processes.wait_for_all("begin")
    if processes.index() == {who}:
        os.kill(os.getpid(), 9)
    processes.wait_for_all("never")
    """
    statuses, _ = run(tmp_path, act)
    assert statuses[who] == -9
    assert statuses[1 - who] not in (0, -9)
    # What says it for a process that JAX has ended says it after that.
    assert says(tmp_path, 1 - who, f"skillrl: error: process {who} on {HOST}", within=15)


def test_sigterm_to_one_ends_all_with_its_status(tmp_path):
    act = """
    import signal
    from skillrl.io import signals

    processes.wait_for_all("begin")
    with signals.terminable():
        if processes.index() == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(100)
    """
    statuses, found = run(tmp_path, act)
    assert statuses == [143, 143], found
    assert f"process 1 on {HOST}: was terminated." in found[0]


def test_sigterm_to_one_lets_all_save_together_where_they_can(tmp_path):
    act = """
    import signal
    from skillrl.io import signals
    from skillrl.phases import stopping

    def save():
        told = processes.together("save", processes.index)
        say("= saved", told)

    with signals.terminable(), stopping.saving(save, at=7):
        if processes.index() == 0:
            processes.on_first("what the others do not come to", lambda: None)
        if processes.index() == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(100)
    """
    statuses, found = run(tmp_path, act, count=3)
    assert statuses == [143] * 3, found
    assert [lines(text)[-1] for text in found] == ["= saved [0, 1, 2]"] * 3
    said = f"skillrl: process 1 on {HOST} was terminated. This process ends, too."
    assert [said in text for text in found] == [True, False, True]


@pytest.mark.slow
def test_nobody_saves_where_one_is_elsewhere(tmp_path):
    act = """
    import signal
    from skillrl.io import signals
    from skillrl.phases import stopping

    with signals.terminable(), stopping.saving(lambda: say("= saved"), at=processes.index()):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(100)
    """
    statuses, found = run(tmp_path, act)
    assert statuses == [143, 143], found
    assert not [line for text in found for line in lines(text) if line == "= saved"]
