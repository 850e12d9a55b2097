"""Ends all processes of a run when one of them fails or dies, with a message that names it.

A process that fails may leave the others in a collective, where they would wait for it for ever.
So each has a thread that says "alive" and looks for bad news once a second, in the coordination
service of `jax.distributed`. Whoever fails says so there; the first process says it of one that has
been silent. Then all end. SIGTERM to one is passed on in the same way (`Alarm.stop_others`). JAX's
own heartbeat, which ends a process with a message of its own, stands behind it for what this cannot
see: a host of the first process that is gone.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from typing import Any, TextIO

from skillrl.errors import SkillRLError
from skillrl.io import signals

BEAT = 1.0
"""Seconds between two signs of life, and two looks for bad news."""

SILENCE = 12
"""Looks without a sign of life after which a process counts as dead; where this one is held up, it
looks less often, and waits longer for the others."""

_LOST = 5  # looks in a row without an answer of the service

_FAILED, _STOPPED, _ALIVE = "skillrl/failed", "skillrl/stopped", "skillrl/alive/"

AGAIN = (
    "This process ends, too. Start the same command again on all hosts: it continues where it "
    "stopped."
)


class Alarm:
    """Watches over the processes of a run, on a thread; `end` stops it."""

    def __init__(
        self,
        client: Any,
        *,
        address: str,
        index: int,
        hosts: tuple[str, ...],
        said_to: TextIO,
    ):
        """Starts watching.

        Args:
          client: of the coordination service.
          address: HOST:PORT of the service.
          index: number of this process.
          hosts: names of all processes' hosts.
          said_to: where the message goes.
        """
        self._client, self._index, self._hosts = client, index, hosts
        self._said_to = said_to
        self._over, self._failed, self._stopped = threading.Event(), False, False
        self._heard: dict[str, tuple[str, int]] = {}
        self._last_words = _LastWords(address, hosts[0]) if index else None
        self._thread = threading.Thread(target=self._watch, name="alarm", daemon=True)
        self._thread.start()

    @property
    def failed(self) -> bool:
        """Whether this process has told the others that it fails."""
        return self._failed

    def end(self) -> None:
        """Stops watching: what others do from now on is their own matter."""
        self._over.set()
        self._thread.join(10 * BEAT)
        self._say_no_more()

    def stop_others(self) -> None:
        """Lets SIGTERM act on all others as it did here, so that they can save together."""
        self._stopped = True
        with contextlib.suppress(RuntimeError):  # somebody was first, or the service is gone
            self._client.key_value_set(_STOPPED, json.dumps(self._index))

    def tell(self, error: BaseException) -> None:
        """Lets all others end because of an error here, and waits until they can have seen it.

        An error of the runtime is most often the death of another process. That is given time to
        be found out, and is then the message, of this process as well.
        """
        if _is_of_the_runtime(error):
            time.sleep((SILENCE + 4) * BEAT)  # does not come back where somebody else has failed
        self._failed = True
        status = error.exit_status if isinstance(error, SkillRLError) else 1
        said = str(error)
        if isinstance(error, KeyboardInterrupt):
            terminated = type(error).__name__ == "Terminated"
            status, said = (143, "was terminated.") if terminated else (130, "was interrupted.")
        elif not isinstance(error, SkillRLError):
            said = f"{type(error).__name__}: {said}"
        self._report(self._index, said, status)
        self._over.set()
        self._say_no_more()
        time.sleep(3 * BEAT)  # the first process has the service that the others look into

    def _say_no_more(self) -> None:
        if self._last_words is not None:
            self._last_words.cancel()

    def _report(self, process: int, said: str, status: int) -> None:
        news = json.dumps({"process": process, "said": said, "status": status})
        with contextlib.suppress(RuntimeError):  # somebody was first, or the service is gone
            self._client.key_value_set(_FAILED, news)

    def _watch(self) -> None:
        beats = lost = 0
        while not self._over.wait(BEAT):
            beats += 1
            try:
                self._client.key_value_set(f"{_ALIVE}{self._index}", str(beats), True)
                news = self._read(_FAILED)
                if news is None and not self._stopped:
                    self._stop(self._read(_STOPPED))
                if self._index == 0 and news is None:
                    self._look_for_silence()
                lost = 0
            except RuntimeError:  # one answer may come too late where a network is busy
                lost += 1
                if self._index == 0 or lost < _LOST:
                    continue
                news = {"process": 0, "said": "does not answer any more.", "status": 1}
            if news is not None and not self._failed and not self._over.is_set():
                self._leave(news)

    def _read(self, key: str) -> Any:
        """Reads what somebody has said in the service, or None."""
        try:
            return json.loads(self._client.key_value_try_get(key))
        except RuntimeError as error:
            if "NOT_FOUND" not in str(error):
                raise
            return None

    def _look_for_silence(self) -> None:
        """Says of a process that has been silent for too long that it is dead."""
        told = dict(self._client.key_value_dir_get(_ALIVE))
        for process in range(1, len(self._hosts)):
            key = f"{_ALIVE}{process}"
            before, looks = self._heard.get(key, ("", 0))
            beats = told.get(key, "")
            looks = looks + 1 if beats == before else 0
            self._heard[key] = (beats, looks)
            if looks > SILENCE:
                said = f"has given no sign of life for {SILENCE * BEAT:.0f} seconds."
                self._report(process, said, 1)

    def _stop(self, process: int | None) -> None:
        """Ends the work of the main thread, which then saves, where `process` was told to end."""
        if process is None:
            return
        self._stopped = True
        if signals.terminate():
            said = f"{self._name(process)} was terminated. This process ends, too."
            print(f"skillrl: {said}", file=self._said_to, flush=True)

    def _name(self, process: int) -> str:
        return f"process {process} on {self._hosts[process]}"

    def _leave(self, news: dict[str, Any]) -> None:
        said = f"{self._name(news['process'])}: {news['said']} {AGAIN}"
        print(f"skillrl: error: {said}", file=self._said_to, flush=True)
        self._say_no_more()
        if self._index == 0:
            time.sleep(3 * BEAT)  # it has the service that the others look into
        os._exit(news["status"])


class _LastWords:
    """Says that the first process is gone where this one cannot say it any more.

    JAX's runtime ends a process the moment that its connection to the service breaks, from a thread
    of its own that asks nobody. So a small process waits for the end of this one, looks whether
    the service is there, and says what happened if it is not.
    """

    def __init__(self, address: str, host: str):
        """`address` is HOST:PORT of the service, `host` the name of the first process's host."""
        message = f"skillrl: error: process 0 on {host}: does not answer any more. {AGAIN}"
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _WAIT, *address.rsplit(":", 1), message],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
        )

    def cancel(self) -> None:
        """Lets it say nothing; may be called twice."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, ValueError):  # it has gone, or this was said before
            self._process.stdin.write(b".")
            self._process.stdin.close()


_WAIT = """
import signal, socket, sys
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.SIG_IGN)
if not sys.stdin.buffer.read():
    try:
        socket.create_connection((sys.argv[1].strip("[]"), int(sys.argv[2])), 5).close()
    except OSError:
        print(sys.argv[3], file=sys.stderr, flush=True)
"""


def _is_of_the_runtime(error: BaseException | None) -> bool:
    """Tells whether an error, or what caused it, came out of a collective or the service."""
    while error is not None:
        words = str(error)
        named = any(part in words for part in ("Gloo", "NCCL", "UNAVAILABLE", "coordination"))
        if isinstance(error, RuntimeError | ValueError) and named:
            return True
        error = error.__cause__
    return False
