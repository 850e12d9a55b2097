"""Saves the train state and whatever the host must remember with it, and restores them.

One step is one directory ``<directory>/<step>/``: Orbax writes it under a temporary name,
``SHA256SUMS`` over all its files is added, everything is flushed, and our own rename is the
commit. So a run killed half way leaves nothing that could be taken for a checkpoint, and
reading compares every file with its sum first. Saving may go on while the caller does (`wait`):
arrays are copied before `save` returns, and a kill before the rename leaves the checkpoint before.

What has a number for a name is taken for a checkpoint, whole or not: it is never deleted but when
newer ones that are whole take its place, and never passed over without a word. Orbax's own
retention does not fit that: it counts what Orbax has committed, which here is before the sums are
there and the rename makes it a checkpoint.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
from orbax.checkpoint import v1 as ocp

from skillrl.errors import Corrupt, SkillRLError, about_writing
from skillrl.io.atomic import explained, replace_directory, temporary_name
from skillrl.io.checksums import seal_directory
from skillrl.parallel import background, processes
from skillrl.training.checkpoint_files import (
    COMMITTED,
    EXTRA,
    STATE,
    check_json,
    check_whole,
    first_line,
    is_number,
    kept,
    read_score,
    write_score,
)
from skillrl.training.finite import check_finite

_LOG = logging.getLogger(__name__)

_CORRUPT = ".corrupt"


class Checkpoints:
    """Reads and writes the checkpoints of one phase, e.g. ``<run>/checkpoints/rl``.

    To be used from the main thread, on all processes::

        with Checkpoints(directory) as checkpoints:
            found = checkpoints.resume(updater.abstract_state)
            if found is not None:
                step, state, extra = found
            ...
            checkpoints.save(step, state, {"cursor": cursor, "bank": bank})

    Opening and reading change nothing on disk, so another process may read the
    checkpoints of a run that goes on. Only one process (group) may save and resume.
    """

    def __init__(
        self, directory: str | Path, *, keep: int = 2, keep_every: int = 0, keep_best: int = 0
    ):
        """Opens the checkpoints under ``directory``, which need not exist yet.

        Args:
          directory: where the steps are.
          keep: how many of the latest checkpoints stay, at least 1.
          keep_every: those whose step is a multiple of it stay too; 0 for none.
          keep_best: how many of those with the highest scores stay too.

        Raises:
          SkillRLError: ``keep`` is below 1.
        """
        if keep < 1:
            raise SkillRLError(f"checkpoints: keep is {keep}; at least 1 must be kept")
        _quiet_orbax()
        self.directory = Path(directory).absolute()
        self._keep, self._keep_every, self._keep_best = keep, keep_every, keep_best
        self._pending: tuple[int, Path, concurrent.futures.Future[None]] | None = None
        registry = ocp.handlers.local_registry()
        # By default Orbax takes a dict of numbers for a tree of arrays.
        registry.add(ocp.handlers.JsonHandler, checkpointable_name=EXTRA)
        self._context = ocp.Context()
        self._context.checkpointables.registry = registry

    def save(
        self,
        step: int,
        state: Any,
        extra: Mapping[str, Any],
        *,
        score: float | None = None,
        wait: bool = True,
    ) -> None:
        """Writes a checkpoint, then removes those that are not to be kept.

        Args:
          step: number of the checkpoint; must be above the latest.
          state: tree of arrays: parameters, optimiser state, counters. No typed
            PRNG keys (draws have addresses; see `skillrl.parallel.random_keys`).
          extra: what is to come back equal with it (data cursor, bank): JSON,
            i.e. dicts with string keys, lists, strings, finite numbers, None.
          score: how good it is, for ``keep_best``; higher is better.
          wait: whether to return when it is on disk. Otherwise the arrays have been copied, which
            may then be donated or changed, and `settle` waits for the rest.

        Raises:
          SkillRLError: ``extra`` would not come back equal, the state has a number that
            is not finite, ``step`` is not above the latest, or the disk refused this checkpoint or
            the one before.
        """
        extra = dict(extra)
        check_json(extra)
        self.settle()
        latest = self.latest()
        if latest is not None and step <= latest:
            raise SkillRLError(
                f"checkpoint {step} is not above the latest, {latest}, in {self.directory}; "
                "restore that one and go on from there"
            )
        check_finite(state, f"checkpoint {step} is not written: in the state")
        temporary = self.directory / processes.on_first("name of a checkpoint", temporary_name)
        with self._writing(step, temporary):
            if processes.is_first():
                self.directory.mkdir(parents=True, exist_ok=True)
            with self._context:
                written = ocp.save_checkpointables_async(temporary, {STATE: state, EXTRA: extra})
        work = functools.partial(self._commit, written.result, temporary, step, score)
        self._pending = step, temporary, _writers().submit(work)
        if wait:
            self.settle()

    def settle(self) -> None:
        """Waits until what `save` began is on disk, on all processes.

        Raises:
          SkillRLError: the disk refused.
        """
        if self._pending is None:
            return
        step, temporary, future = self._pending
        with self._writing(step, temporary):
            while not concurrent.futures.wait([future], background.BEAT).done:
                pass  # in steps, so that a signal is heard
            self._pending = None
            future.result()
        processes.wait_for_all(f"checkpoint {step}")
        if processes.is_first():
            with explained(self.directory):
                self.prune()

    def _commit(
        self, finish: Callable[[], object], temporary: Path, step: int, score: float | None
    ) -> None:
        """Lets Orbax finish, and adds the sums and last the rename that makes its files count."""
        finish()
        if processes.is_first():
            (temporary / COMMITTED).unlink(missing_ok=True)
            write_score(temporary, score)
            seal_directory(temporary)
            replace_directory(temporary, self._path(step))  # durably, before an older one goes

    @contextlib.contextmanager
    def _writing(self, step: int, temporary: Path) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError, RuntimeError, ExceptionGroup) as error:
            # A full disk shows as any of these, by whether Python or Tensorstore met it.
            if processes.is_first():
                for path in self.directory.glob(f"{temporary.name}*"):  # Orbax's own beside it
                    shutil.rmtree(path, ignore_errors=True)  # what is wrong is on its way
            raise about_writing(error)(
                f"checkpoint {step} could not be written to {self.directory} "
                f"({first_line(error)}); free space or choose a --workdir that can be written, "
                "then start the same command again: earlier checkpoints are untouched"
            ) from error

    def prune(self) -> None:
        """Removes the checkpoints that are not to be kept; the caller knows the latest to be whole.

        A kill in a save may have left one too many.
        """
        paths = {step: self._path(step) for step in self._steps()}
        keep = kept(
            {step: read_score(path) for step, path in paths.items()},
            last=self._keep,
            every=self._keep_every,
            best=self._keep_best,
        )
        for step in paths.keys() - keep:  # renamed first: half of one must not look whole
            shutil.rmtree(self._path(step).rename(self.directory / temporary_name()))

    def steps(self) -> list[int]:
        """Returns the numbers of all that looks like a checkpoint, whole or not, ascending."""
        return processes.on_first("checkpoints", self._steps)

    def _steps(self) -> list[int]:
        if not self.directory.is_dir():
            return []
        return sorted(int(p.name) for p in self.directory.iterdir() if is_number(p.name))

    def latest(self) -> int | None:
        """Returns the highest of `steps`, or None."""
        return max(self.steps(), default=None)

    def check(self, step: int) -> None:
        """Compares all files of a checkpoint with their sums.

        Raises:
          SkillRLError: there is no such checkpoint.
          Corrupt: a file was changed, cut off, lost or added; it is named.
        """
        processes.on_first(f"checksums of {step}", lambda: check_whole(self._find(step)))

    def resume(self, abstract_state: Any) -> tuple[int, Any, dict[str, Any]] | None:
        """Reads the newest whole checkpoint, for a phase that goes on from it.

        Corrupt ones above it are set aside: renamed to ``<step>.corrupt``, and said. Then
        those that are not to be kept are removed.

        Args:
          abstract_state: see `restore`.

        Returns:
          (step, state, extra), or None if there never was a checkpoint.

        Raises:
          Corrupt: there are checkpoints, and none is whole; nothing was changed.
          SkillRLError: see `restore`.
        """
        broken: dict[int, Corrupt] = {}
        for step in reversed(self.steps()):
            try:
                self.check(step)
            except Corrupt as error:
                broken[step] = error
                continue
            found = self._load(step, abstract_state)
            if processes.is_first():
                for bad, why in broken.items():
                    self._set_aside(bad, why, step)
                self.prune()
            processes.wait_for_all(f"resume from {step}")
            return step, *found
        before = processes.on_first(
            "corrupt checkpoints", lambda: [str(p) for p in self.directory.glob(f"*{_CORRUPT}*")]
        )
        if broken or before:
            first = str(next(iter(broken.values()))) if broken else f"{before[0]} was set aside."
            raise Corrupt(
                f"{first} No whole checkpoint is left in {self.directory}, and beginning again "
                "from nothing is not done by itself: everything here is left as it is. Restore a "
                f"checkpoint from a copy, or move {self.directory} away to begin again."
            )
        return None

    def restore(self, step: int, abstract_state: Any) -> tuple[Any, dict[str, Any]]:
        """Reads a checkpoint onto the devices, bit for bit what was saved.

        Args:
          step: one of `steps`.
          abstract_state: a tree like the saved state of `jax.ShapeDtypeStruct`
            with the shardings wanted now; they need not be those of the saving run.

        Returns:
          (state, extra).

        Raises:
          SkillRLError: there is no such checkpoint, its arrays differ from
            ``abstract_state`` in name, shape or type, or it cannot be read.
          Corrupt: it is not what was saved; the file is named.
        """
        self._check_named(step)
        return self._load(step, abstract_state)

    def extra(self, step: int) -> dict[str, Any]:
        """Returns what was saved beside the state, without reading that; raises as `restore`."""
        self._check_named(step)
        path = self._path(step)
        with self._context, _readable(path):
            return ocp.load_checkpointables(path, {EXTRA: None})[EXTRA]

    def _check_named(self, step: int) -> None:
        """Checks a checkpoint; what is wrong is said with how a run gets past it."""
        try:
            self.check(step)
        except Corrupt as error:
            raise Corrupt(
                f"checkpoint {step} is corrupt: {error} Or start skillrl {self.directory.name} (or "
                "train) there again: it sets this one aside and goes on from the one before."
            ) from None

    def _load(self, step: int, abstract_state: Any) -> tuple[Any, dict[str, Any]]:
        path = self._path(step)
        with self._context, _readable(path):
            self._check_same(path, abstract_state)
            found = ocp.load_checkpointables(path, {STATE: abstract_state, EXTRA: None})
        return found[STATE], found[EXTRA]

    def _set_aside(self, step: int, error: Corrupt, instead: int) -> None:
        place = self.directory / f"{step}{_CORRUPT}"
        number = 1
        while place.exists():
            number += 1
            place = self.directory / f"{step}{_CORRUPT}-{number}"
        self._path(step).rename(place)
        _LOG.warning("%s It is set aside as %s; going on from %d.", error, place.name, instead)

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None:
            self.settle()
        elif self._pending is not None and processes.count() == 1:
            # What ends the block is what to say; of several processes one may not come any more.
            with contextlib.suppress(SkillRLError):
                self.settle()

    def _path(self, step: int) -> Path:
        return self.directory / str(step)

    def _find(self, step: int) -> Path:
        if step not in self.steps():
            there = ", ".join(map(str, self.steps())) or "none"
            raise SkillRLError(
                f"no checkpoint {step} in {self.directory} (there are: {there}); give one "
                "of these, or another --workdir"
            )
        return self._path(step)

    def _check_same(self, path: Path, abstract_state: Any) -> None:
        saved = _described(ocp.checkpointables_metadata(path).metadata[STATE])
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


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError) as error:
        raise SkillRLError(
            f"checkpoint {path} cannot be read ({type(error).__name__}: {first_line(error)}); "
            "move this directory away to go on from the one before it"
        ) from error


def _described(tree: Any) -> dict[str, str]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): f"{leaf.dtype}{list(leaf.shape)}"
        for path, leaf in leaves
    }


@functools.cache
def _quiet_orbax() -> None:
    """Drops Orbax's running commentary from the absl log, and the errors that it raises too."""

    def keep(record: logging.LogRecord) -> bool:
        told = record.levelno >= logging.ERROR and not record.exc_info
        return told or "orbax" not in record.pathname

    logging.getLogger("absl").addFilter(keep)


@functools.cache
def _writers() -> background.Workers:
    """Returns the thread that ends what Orbax began; the process waits for it at its end."""
    return background.Workers(1, name="checkpoint")
