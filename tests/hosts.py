"""Starts the processes of one run on this machine, as a launcher does on several hosts."""

from __future__ import annotations

import contextlib
import os
import platform
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HOST = platform.node()

_BEGIN = """
import json, os, sys, time
from skillrl.errors import Corrupt, SkillRLError
from skillrl.parallel import joining, processes

address, count, number = sys.argv[-3:]
cluster = joining.Cluster(
    distributed="on", coordinator_address=address, num_processes=int(count), process_id=int(number)
)
out = sys.stdout

def say(*words):
    print(*words, file=out, flush=True)

def act():
"""
_END = """
try:
    with joining.joined(cluster):
        act()
except SkillRLError as error:
    say("error:", type(error).__name__, error)
    joining.leave(2)
    sys.exit(2)
except KeyboardInterrupt:
    joining.leave(143)
    sys.exit(143)
"""


def free_port() -> int:
    """A port that nobody has."""
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return found.getsockname()[1]


@contextlib.contextmanager
def started(
    command: Sequence[str | Path], folder: Path, *, count: int = 2, flags: bool | None = True
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes of `command`, one CPU device each; their output is in ``folder/I.txt``.

    Args:
      command: arguments of Python.
      folder: where their output goes.
      count: how many.
      flags: whether the command takes the flags; else address, count and number are the last three
        arguments. None tells it nothing.
    """
    address = f"localhost:{free_port()}"
    environment = {
        **{k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", "PYTEST_CURRENT_TEST")},
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": str(ROOT),
    }
    running = []
    try:
        for number in range(count):
            told = [address, str(count), str(number)]
            if flags:
                names = ("coordinator_address", "num_processes", "process_id")
                told = [f"--{name}={value}" for name, value in zip(names, told, strict=True)]
                told.append("--distributed=on")
            elif flags is None:
                told = []
            with open(folder / f"{number}.txt", "wb") as out:
                running.append(
                    subprocess.Popen(
                        [sys.executable, *map(str, command), *told],
                        stdout=out,
                        stderr=subprocess.STDOUT,
                        env=environment,
                        cwd=folder,
                    )
                )
        yield running
    finally:
        for process in running:
            process.kill()
            process.wait()


def ends(running: Sequence[subprocess.Popen[bytes]], timeout: float) -> list[int]:
    """Statuses of the processes; all must end within `timeout` seconds."""
    until = time.monotonic() + timeout
    return [process.wait(max(0.1, until - time.monotonic())) for process in running]


def said(folder: Path, number: int) -> str:
    """What a process has written."""
    return (folder / f"{number}.txt").read_text("utf-8", errors="replace")


def says(folder: Path, number: int, words: str, *, within: float) -> bool:
    """Whether a process has written `words`, or does `within` seconds."""
    until = time.monotonic() + within
    while words not in said(folder, number) and time.monotonic() < until:
        time.sleep(0.2)
    return words in said(folder, number)


def run(
    folder: Path, act: str, count: int = 2, timeout: float = 200
) -> tuple[list[int], list[str]]:
    """Statuses of processes that join, do `act` and part, and what each of them has written.

    Args:
      folder: where the script and its output go.
      act: Python; ``say(...)`` writes a line, also where a process is to print nothing.
      count: how many processes.
      timeout: seconds until all must have ended.
    """
    script = folder / "script.py"
    script.write_text(_BEGIN + textwrap.indent(textwrap.dedent(act), "    ") + _END)
    with started([script], folder, count=count, flags=False) as running:
        statuses = ends(running, timeout)
    return statuses, [said(folder, number) for number in range(count)]
