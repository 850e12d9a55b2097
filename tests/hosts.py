"""Starts the processes of one run on this machine, as a launcher does on several hosts."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def free_port() -> int:
    """A port that nobody has."""
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return found.getsockname()[1]


@contextlib.contextmanager
def started(
    command: Sequence[str | Path], folder: Path, *, count: int = 2, flags: bool = True
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes of `command`, one CPU device each; their output is in ``folder/I.txt``.

    Args:
      command: arguments of Python.
      folder: where their output goes.
      count: how many.
      flags: whether the command takes the flags; else address, count and number are the last three
        arguments.
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
