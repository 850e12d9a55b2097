"""Work on another thread: interruptible, its errors its own, and no obstacle to leaving."""

import gc
import signal
import subprocess
import sys
import threading
import time

import pytest

from skillrl.parallel import background


def test_the_result_and_the_error_are_those_of_the_work():
    assert background.wait_for(pow, 2, 10) == 1024
    with pytest.raises(ZeroDivisionError):
        background.wait_for(divmod, 1, 0)

    def late():
        raise TimeoutError("its own")

    with pytest.raises(TimeoutError, match="its own"):  # not taken for the wait's
        background.wait_for(late)


def test_somebody_is_asked_meanwhile(monkeypatch):
    monkeypatch.setattr(background, "BEAT", 0.01)
    done, beats = threading.Event(), []

    def beat():
        beats.append(1)
        if len(beats) == 3:
            done.set()

    assert background.wait_for(done.wait, 60.0, beat=beat)
    assert len(beats) >= 3


def test_workers_do_things_in_order_and_end_with_their_owner():
    workers = background.Workers(1, name="mine")
    seen = []
    futures = [workers.submit(seen.append, i) for i in range(20)]
    for future in futures:
        future.result(timeout=60)
    assert seen == list(range(20))
    del workers, futures, future
    gc.collect()
    until = time.monotonic() + 60
    while any(thread.name == "mine-0" for thread in threading.enumerate()):
        assert time.monotonic() < until
        time.sleep(0.01)


WAITING = """
import signal, sys, time
from skillrl.parallel import background
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background
print("waiting", flush=True)
try:
    background.wait_for(time.sleep, 600)
except KeyboardInterrupt:
    print("heard", flush=True)
    background.leave(130)
    print("not reached", flush=True)
"""


def test_ctrl_c_is_heard_and_the_process_leaves_while_work_goes_on():
    process = subprocess.Popen([sys.executable, "-c", WAITING], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    time.sleep(0.2)  # into the call
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert out == "heard\n"
    assert process.returncode == 130


def test_leaving_with_nothing_going_on_is_left_to_the_interpreter():
    background.leave(1)


FAILING = """
import sys, time
from skillrl.parallel import background
background.Workers(1, name="device").submit(time.sleep, 1.0)
sys.exit(2)
"""


def test_an_error_while_work_goes_on_ends_with_its_own_status():
    """The interpreter waits for the work: taken away under a device call it would abort."""
    assert subprocess.run([sys.executable, "-c", FAILING], timeout=60).returncode == 2
