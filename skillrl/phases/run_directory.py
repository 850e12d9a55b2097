"""Keeps the run directory: one place that is the whole run, and one owner at a time.

config.json        settings without API keys; a resume is compared with it, once a phase wrote
environment.json   versions, devices and commit of the latest session
metrics.jsonl      one row per (phase, step); tensorboard/<phase>/ beside it
phases.json        which phases are finished, and what each had to say
name.json          what tells the run from others in places that it shares with them
.lock              held (flock) while a process works here; its pid is inside

Of several processes of one run (`skillrl.parallel.processes`) the first one holds the lock, writes,
and reads what decisions hang on; the others are told. A file system may show them a file late.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import math
import os
import platform
import subprocess
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from skillrl.config.settings import Config, diff, public_dict, resumable_summary
from skillrl.errors import SkillRLError
from skillrl.io import records
from skillrl.io.atomic import TEMPORARY, atomic_write, critical_section, is_empty, keep_out
from skillrl.io.files import (
    append_jsonl,
    append_sealed,
    read_json,
    read_jsonl,
    read_sealed,
    truncate_jsonl,
    write_json,
    write_sealed,
)
from skillrl.io.numbers import is_number
from skillrl.parallel import processes
from skillrl.phases.events import Events
from skillrl.phases.leftovers import remove_leftovers

__all__ = [
    "Metrics",
    "RunDirectory",
    "append_jsonl",
    "atomic_write",
    "critical_section",
    "describe_environment",
    "read_json",
    "read_jsonl",
    "recorded_config",
    "truncate_jsonl",
    "write_json",
]

_LOCK = ".lock"
_SHOWN = 5  # settings named in a message
_NAME = "name.json"
_BOOKKEEPING = ("config.json", "environment.json", "wall_seconds.json", _NAME, _LOCK)
_PACKAGES = ("skillrl", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


class RunDirectory:
    """Holds a work directory for one run. Use it as a context manager, or `close` it.

    Attributes:
      path: the directory.
      config: settings of this session.
      locked: whether this session has locked it for writing, and does not only read it.
    """

    def __init__(self, path: str | Path, config: Config, *, lock: bool = True):
        """Creates the directory, or continues the run that is in it.

        Args:
          path: the work directory.
          config: settings of this session.
          lock: False only reads: nothing is created, compared or locked. Of several processes
            the first one locks it for all, and the others write nothing in it.

        Raises:
          SkillRLError: the directory is not one of a run, is not writable, is in use by another
            process, or was started with other settings that may not change.
        """
        self.path = Path(path)
        self.config = config
        self.locked = lock
        self._lock: int | None = None
        self._kept_out = contextlib.ExitStack()
        if not lock:
            return
        processes.on_first("run directory", self._open)
        if not processes.is_first():
            self._kept_out.enter_context(keep_out(self.path))

    def _open(self) -> None:
        """Locks the directory and records the settings."""
        check_workdir(self.path, self.config)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = _acquire(self.path)
        except OSError as error:
            raise _unwritable(self.path, error) from error
        try:
            check_workdir(self.path, self.config)  # again: another process may have been first
            remove_leftovers(self.path)
            write_sealed(self.file("config.json"), public_dict(self.config))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> RunDirectory:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Unlocks the directory. May be called twice."""
        self._kept_out.close()
        if self._lock is not None:
            if self.locked:
                os.ftruncate(self._lock, 0)  # whom it names is at work there, or was killed
            os.close(self._lock)
            self._lock = None

    def keep_others_out(self, why: str) -> None:
        """Keeps sessions that write from the directory until this one ends, which only reads it.

        Others that read may do the same meanwhile. Where nobody ever locked it, or files cannot be
        locked there, nothing happens.

        Args:
          why: this session and one that writes cannot go on together, a clause.

        Raises:
          SkillRLError: one that writes is at work.
        """
        if not self.locked:
            processes.on_first("owner of the run", lambda: self._keep_others_out(why))

    def _keep_others_out(self, why: str) -> None:
        import fcntl

        if self._lock is not None:
            return
        with contextlib.suppress(OSError):
            handle = os.open(self.path / _LOCK, os.O_RDONLY)
            try:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                owner = _owner(handle)
                os.close(handle)
                raise SkillRLError(
                    f"--workdir={self.path}: is in use by another process ({owner}), and {why}."
                ) from None
            except OSError:
                os.close(handle)
                raise
            self._lock = handle

    def file(self, *parts: str) -> Path:
        """Joins names to a path inside the directory; creates nothing."""
        return self.path.joinpath(*parts)

    def name(self) -> str:
        """Returns a name that no other run has, nor a copy of this one elsewhere.

        It is made when it is first asked for, by a session that has locked the directory.

        Raises:
          SkillRLError: name.json is not as a run wrote it, or cannot be written.
        """
        return processes.on_first("name of the run", self._name)

    def _name(self) -> str:
        path = self.file(_NAME)
        if not path.exists():
            write_sealed(path, {"name": uuid.uuid4().hex})
        drawn = f"{read_sealed(path).get('name')} {self.path.resolve()}"
        return hashlib.sha256(drawn.encode()).hexdigest()[:16]

    def write_environment(self) -> None:
        """Writes environment.json; imports JAX to name the devices."""
        write_sealed(self.file("environment.json"), describe_environment())

    def finished(self, phase: str) -> dict[str, Any] | None:
        """Returns what `finish` recorded for a phase, or None while it is not finished."""
        return self.phases().get(phase)

    def phases(self) -> dict[str, dict[str, Any]]:
        """Reads the finished phases in the order they finished, with what was recorded of each.

        Raises:
          SkillRLError: phases.json is not as a run wrote it.
        """
        return processes.on_first("finished phases", self._phases)

    def _phases(self) -> dict[str, dict[str, Any]]:
        path = self.file("phases.json")
        if not path.exists():
            return {}
        found = read_sealed(path)
        for phase, info in found.items():
            if not isinstance(info, dict):
                raise SkillRLError(
                    f"{path}: {phase!r} is {info!r}; what is recorded of a phase is an object. "
                    "Delete the file: the same command finds again what is finished."
                )
        return found

    def finish(self, phase: str, **info: Any) -> None:
        """Marks a phase as finished, atomically; `info` must be plain JSON values."""
        if processes.is_first():
            write_sealed(self.file("phases.json"), self._phases() | {phase: info})


OnMetrics = Callable[[Mapping[str, Any]], None]
"""Is called with each row of metrics: phase, step, and numbers by name (None if not finite)."""


class Metrics:
    """Writes the numbers of a run as JSON lines and, if wanted, as TensorBoard events."""

    def __init__(
        self, run: RunDirectory, *, tensorboard: bool = True, on_write: OnMetrics | None = None
    ):
        """Opens no file yet.

        Args:
          run: the run directory, in which the files lie.
          tensorboard: whether TensorBoard events are written as well.
          on_write: called with each row once it is on disk.
        """
        self._run = run
        self._on_write = on_write
        self._tensorboard = tensorboard and processes.is_first()
        self._writers: dict[str, Events] = {}
        self._purge: dict[str, int] = {}

    def __enter__(self) -> Metrics:
        return self

    def __exit__(self, *error: object) -> None:
        if error[1] is None:
            self.close()
        else:
            with contextlib.suppress(SkillRLError):  # what ended the session is said first
                self.close()

    @property
    def path(self) -> Path:
        """Returns the path of the JSON lines file."""
        return self._run.file("metrics.jsonl")

    def write(self, phase: str, step: int, values: Mapping[str, Any]) -> dict[str, Any]:
        """Adds one row and returns it.

        Numbers may be 0-d arrays; NaN and infinities are written as null.
        """
        numbers = {key: float(value) for key, value in values.items()}
        row: dict[str, Any] = {"phase": phase, "step": int(step)}
        row |= {k: v if math.isfinite(v) else None for k, v in numbers.items()}
        append_sealed(self.path, row)
        if self._tensorboard:
            named = {f"{phase}/{key}": value for key, value in numbers.items()}
            self._events(phase).add(step, named)
        if self._on_write is not None:
            self._on_write(dict(row))
        return row

    def rows(self, phase: str | None = None) -> list[dict[str, Any]]:
        """Reads all rows, or those of one phase, in the order in which they were written.

        Raises:
          SkillRLError: a line of the file is no row of metrics.
        """
        rows = processes.on_first("rows of metrics", self._rows)
        return [row for row in rows if phase in (None, row["phase"])]

    def _rows(self) -> list[dict[str, Any]]:
        if not self.path.exists():
            return []
        return [self._checked(row) for row in read_jsonl(self.path, required=True)]

    def resume(self, phase: str, step: int) -> int:
        """Drops what a phase wrote after its checkpoint, so that it can be written again.

        Args:
          phase: the phase that resumes.
          step: the step of the checkpoint; rows up to it stay.

        Returns:
          The number of rows that were dropped.

        Raises:
          SkillRLError: a line of the file is no row of metrics.
        """
        if phase in self._writers:
            self._writers.pop(phase).close()
        self._purge[phase] = step + 1

        def stays(row: Any) -> bool:
            return self._checked(row)["phase"] != phase or row["step"] <= step

        return processes.on_first(
            "resumed metrics", lambda: truncate_jsonl(self.path, stays, required=True)
        )

    def _checked(self, row: Any) -> dict[str, Any]:
        """Returns `row`, once it is known to have the form that `write` gives.

        Raises:
          SkillRLError: it has another form.
        """
        if isinstance(row, dict):
            phase, step, *others = (row.get("phase"), row.get("step"), *row.values())
            numbers = [value for value in others if value is not None and value is not phase]
            if isinstance(phase, str) and type(step) is int and all(map(is_number, numbers)):
                return row
        raise SkillRLError(
            f"{self.path}: {records.show(row)} is no row of metrics: phase, step and numbers. "
            "Restore the file from a copy, or name another --workdir."
        )

    def close(self) -> None:
        """Flushes and closes the TensorBoard files. May be called twice."""
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()

    def _events(self, phase: str) -> Events:
        if phase not in self._writers:
            self._writers[phase] = Events(
                self._run.file("tensorboard", phase), purge=self._purge.get(phase)
            )
        return self._writers[phase]


def check_workdir(path: str | Path, config: Config) -> None:
    """Checks that a run of `config` may live at `path`; creates nothing.

    Settings are compared once a phase has written something: before that, whoever was
    refused may follow the advice and start again with other ones.

    Raises:
      SkillRLError: there is a file, a directory that is not of a run, or a run with other
        settings.
    """
    path = Path(path)
    if path.exists() and not path.is_dir():
        raise SkillRLError(f"--workdir={path}: is a file. Name a directory, new or of a run.")
    old = recorded_config(path)
    if old is None or not _has_output(path):
        return
    changed = diff(old, config)
    if changed:
        rest = len(changed) - _SHOWN
        more = f"; and {rest} more (the run's are in {path / 'config.json'}, --show_config prints "
        more += "yours)"
        raise SkillRLError(
            f"--workdir={path}: holds a run with other settings: {'; '.join(changed[:_SHOWN])}"
            + (more if rest > 0 else "")
            + ". Repeat the settings it was started with, or name another --workdir. (These may "
            f"change: {resumable_summary()}.)"
        )


def recorded_config(path: str | Path) -> Config | None:
    """Reads the settings of the run at `path`; returns None where there is nothing yet.

    Raises:
      SkillRLError: `path` is not readable, or holds something that is not a run of this program.
    """
    path = Path(path)
    try:
        names = os.listdir(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unwritable(path, error) from error
    if "config.json" not in names:
        if is_empty(names, ignore=[_LOCK]):
            return None
        raise SkillRLError(
            f"--workdir={path}: is not empty and not a run (there is no config.json of ours in "
            "it); nothing was touched. Name a new or an empty directory."
        )
    try:
        return Config.from_dict(read_json(path / "config.json"))
    except SkillRLError as error:
        raise SkillRLError(
            f"--workdir={path}: its config.json is not one that this version of skillrl wrote "
            f"({error}); nothing was touched. Name a new or an empty directory."
        ) from None


def _has_output(path: Path) -> bool:
    """Tells whether there is any file besides those that every session writes at its start."""
    return any(
        file.relative_to(path).parts[0] not in _BOOKKEEPING
        and not file.name.startswith(TEMPORARY)
        and file.is_file()
        for file in path.rglob("*")
    )


def describe_environment() -> dict[str, Any]:
    """Describes what the run is computed with: versions, platform, devices and source commit."""
    import jax

    versions: dict[str, str | None] = {}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": versions,
        "processes": jax.process_count(),
        "devices": [f"{d.platform}:{d.id} {d.device_kind}" for d in jax.devices()],
        "commit": _commit(),
    }


def _commit() -> str | None:
    """Finds the commit of the checkout that this package lies in, with + if files differ."""
    source = Path(__file__).resolve().parents[2]

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(source), *arguments], capture_output=True, text=True, timeout=10
            )
        except (OSError, subprocess.TimeoutExpired):
            return None  # no git here: the commit is simply not known
        return done.stdout.strip() if done.returncode == 0 else None

    top = git("rev-parse", "--show-toplevel")
    if top is None or Path(top).resolve() != source:
        return None
    commit = git("rev-parse", "HEAD")
    return commit and commit + ("+" if git("status", "--porcelain", "-uno") else "")


def _acquire(path: Path) -> int:
    """Locks the directory `path`.

    Returns:
      An open file descriptor; closing it unlocks the directory.

    Raises:
      OSError: the lock file cannot be made.
      SkillRLError: another process holds the lock.
    """
    import fcntl

    handle = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"pid {os.getpid()} on {platform.node()}\n".encode(), 0)
    except BlockingIOError:
        owner = _owner(handle)
        os.close(handle)
        raise SkillRLError(
            f"--workdir={path}: is in use by another process ({owner}). Wait for it, stop it, or "
            "name another --workdir."
        ) from None
    except OSError:
        os.close(handle)
        raise
    return handle


def _owner(handle: int) -> str:
    """Says who has locked the directory, as far as the lock file tells."""
    said = os.pread(handle, 100, 0).decode(errors="replace").strip()
    return said or "one that reads it, such as an evaluation on a rollout server"


def _unwritable(path: Path, error: OSError) -> SkillRLError:
    """Makes the error that says that the directory cannot be used, and why."""
    return SkillRLError(
        f"--workdir={path}: cannot be used ({error.strerror}). Name a directory that you may "
        "write to."
    )
