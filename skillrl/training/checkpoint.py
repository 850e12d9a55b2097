"""Checkpoints of the train state and whatever the host must remember with it.

One step is one directory ``<directory>/<step>/`` written by Orbax under a
temporary name and renamed when complete, so a run killed half way leaves
nothing that could be taken for a checkpoint. Saving returns when it is on disk.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
from orbax.checkpoint import v1 as ocp

from skillrl.errors import SkillRLError

_STATE, _EXTRA = "state", "extra"
_COMMITTED = "commit_success.txt"  # written by Orbax last, in whichever way it commits
_TEMPORARY = ".orbax-checkpoint-tmp"
_DELETED = ".deleted"


class Checkpoints:
    """The checkpoints of one phase, e.g. ``<run>/checkpoints/rl``.

    To be used from the main thread, on all processes::

        with Checkpoints(directory) as checkpoints:
            step = checkpoints.latest()
            if step is not None:
                state, extra = checkpoints.restore(step, abstract(state))
            ...
            checkpoints.save(step, state, {"cursor": cursor, "bank": bank})

    Opening and reading change nothing on disk, so another process may read the
    checkpoints of a run that goes on. Only one process (group) may save.
    """

    def __init__(self, directory: str | Path, keep: int = 2):
        """The checkpoints under ``directory``, which need not exist yet.

        Args:
          directory: where the steps are.
          keep: how many of the latest checkpoints stay, at least 1.

        Raises:
          SkillRLError: ``keep`` is below 1.
        """
        if keep < 1:
            raise SkillRLError(f"checkpoints: keep is {keep}; at least 1 must be kept")
        _quiet_orbax()
        self._directory = Path(directory).absolute()
        self._keep = keep
        registry = ocp.handlers.local_registry()
        # By default Orbax takes a dict of numbers for a tree of arrays.
        registry.add(ocp.handlers.JsonHandler, checkpointable_name=_EXTRA)
        self._context = ocp.Context()
        self._context.checkpointables.registry = registry

    def save(self, step: int, state: Any, extra: Mapping[str, Any]) -> None:
        """Writes a checkpoint, then removes those beyond ``keep`` and any rubbish.

        Args:
          step: number of the checkpoint; must be above the latest.
          state: tree of arrays: parameters, optimiser state, counters. No typed
            PRNG keys (randomness has addresses; see `skillrl.parallel.addresses`).
          extra: what is to come back equal with it (data cursor, bank): JSON,
            i.e. dicts with string keys, lists, strings, finite numbers, None.

        Raises:
          SkillRLError: ``extra`` would not come back equal, ``step`` is not
            above the latest, or the disk refused.
        """
        extra = dict(extra)
        _check_json(extra)
        latest = self.latest()
        if latest is not None and step <= latest:
            raise SkillRLError(
                f"checkpoint {step} is not above the latest, {latest}, in {self._directory}; "
                "restore that one and go on from there"
            )
        try:
            if jax.process_index() == 0:
                self._directory.mkdir(parents=True, exist_ok=True)
                self._sweep()
            with self._context:
                ocp.save_checkpointables(self._path(step), {_STATE: state, _EXTRA: extra})
            if jax.process_index() == 0:
                _fsync(self._path(step))  # before an older one goes
                self._remove(self.steps()[: -self._keep])
        except OSError as error:
            raise SkillRLError(
                f"checkpoint {step} could not be written to {self._directory} ({error}); free "
                "space or choose a --workdir that can be written, then start the same command "
                "again: earlier checkpoints are untouched"
            ) from error

    def steps(self) -> list[int]:
        """The complete checkpoints, ascending."""
        if not self._directory.is_dir():
            return []
        return sorted(int(path.name) for path in self._directory.iterdir() if _complete(path))

    def latest(self) -> int | None:
        """The latest complete checkpoint, or None."""
        return max(self.steps(), default=None)

    def restore(self, step: int, abstract_state: Any) -> tuple[Any, dict[str, Any]]:
        """Reads a checkpoint onto the devices, bit for bit what was saved.

        Args:
          step: one of `steps`.
          abstract_state: a tree like the saved state of `jax.ShapeDtypeStruct`
            with the shardings wanted now (`abstract`); they need not be those
            of the saving run.

        Returns:
          (state, extra).

        Raises:
          SkillRLError: there is no such checkpoint, its arrays differ from
            ``abstract_state`` in name, shape or type, or it cannot be read.
        """
        path = self._find(step)
        with self._context, _readable(path):
            self._check_same(path, abstract_state)
            found = ocp.load_checkpointables(path, {_STATE: abstract_state, _EXTRA: None})
        return found[_STATE], found[_EXTRA]

    def extra(self, step: int) -> dict[str, Any]:
        """What was saved beside the state, without reading the state; raises as `restore`."""
        path = self._find(step)
        with self._context, _readable(path):
            return ocp.load_checkpointables(path, {_EXTRA: None})[_EXTRA]

    def close(self) -> None:
        """Nothing is left running after `save`; here for ``with``."""

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _path(self, step: int) -> Path:
        return self._directory / str(step)

    def _find(self, step: int) -> Path:
        if step not in self.steps():
            there = ", ".join(map(str, self.steps())) or "none"
            raise SkillRLError(
                f"no checkpoint {step} in {self._directory} (complete ones: {there}); give one "
                "of these, or another --workdir"
            )
        return self._path(step)

    def _sweep(self) -> None:
        """Removes what a killed run left half written or half deleted."""
        for path in list(self._directory.iterdir()):
            torn = path.name.isdigit() and not _complete(path)
            if path.is_dir() and (torn or _TEMPORARY in path.name or path.suffix == _DELETED):
                shutil.rmtree(path)

    def _remove(self, steps: list[int]) -> None:
        for step in steps:  # renamed first: half a checkpoint must not look whole
            shutil.rmtree(self._path(step).rename(self._directory / f"{step}{_DELETED}"))

    def _check_same(self, path: Path, abstract_state: Any) -> None:
        saved = _described(ocp.checkpointables_metadata(path).metadata[_STATE])
        if not saved:  # Orbax answers so where the index of the arrays is broken
            raise ValueError("it describes no arrays")
        wanted = _described(abstract_state)
        differences = [
            f"{name}: saved {saved.get(name, 'nothing')}, wanted {wanted.get(name, 'nothing')}"
            for name in sorted(saved.keys() | wanted.keys())
            if saved.get(name) != wanted.get(name)
        ]
        if differences:
            shown = "; ".join(differences[:3]) + ("; ..." if len(differences) > 3 else "")
            raise SkillRLError(
                f"checkpoint {path} is of another model or optimiser: {len(differences)} "
                f"arrays differ ({shown}). Use the model and optimiser it was "
                "saved with, or another --workdir"
            )


def abstract(state: Any, shardings: Any = None) -> Any:
    """Shapes, types and shardings of a state, for `Checkpoints.restore`.

    Args:
      state: a tree of arrays, or of `jax.ShapeDtypeStruct`.
      shardings: a tree like it of shardings; those of the arrays by default.
    """
    if shardings is None:
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state
        )
    return jax.tree.map(
        lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), state, shardings
    )


def _complete(path: Path) -> bool:
    parts = (path / _COMMITTED, path / _STATE, path / _EXTRA)
    return path.name.isdigit() and all(part.exists() for part in parts)


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError) as error:
        raise SkillRLError(
            f"checkpoint {path} cannot be read ({type(error).__name__}: {error}); delete this "
            "directory to go on from the one before it"
        ) from error


def _fsync(path: Path) -> None:
    """Makes a finished checkpoint survive a power cut as well."""
    for entry in [path.parent, path, *path.rglob("*")]:
        descriptor = os.open(entry, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _described(tree: Any) -> dict[str, str]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): f"{leaf.dtype}{list(leaf.shape)}"
        for path, leaf in leaves
    }


def _check_json(extra: dict[str, Any]) -> None:
    try:
        same = json.loads(json.dumps(extra, allow_nan=False)) == extra
    except (TypeError, ValueError) as error:
        raise SkillRLError(f"checkpoint extra is not JSON ({error}); convert it first") from error
    if not same:
        raise SkillRLError(
            "checkpoint extra would not come back equal from JSON; use lists instead of tuples "
            "and strings as keys"
        )


@functools.cache
def _quiet_orbax() -> None:
    """Drops Orbax's running commentary from the absl log; errors stay."""

    def keep(record: logging.LogRecord) -> bool:
        return record.levelno >= logging.ERROR or "orbax" not in record.pathname

    logging.getLogger("absl").addFilter(keep)
