"""Keeps what the episodes of an iteration were answered, so that a killed run goes on within them.

Each answer of the engine is a row of a file as soon as it is there, and each finished episode
another. A session after a kill takes finished episodes as they are, and plays the unfinished ones
again up to where they were: the environment is asked anew, the engine is not. So nothing that was
sampled is sampled again, which matters where that takes long, and on a server whose draws nobody
can repeat: to drop what was unfinished and draw it anew would leave too many short episodes.

Rows are written without waiting for the disk: they survive the end of the process. What an end of
the machine takes of them is sampled again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any

from skillrl.errors import SkillRLError
from skillrl.inference.base import Generate, Generated
from skillrl.io import records
from skillrl.io.atomic import explained
from skillrl.io.files import read_jsonl, sealed_line
from skillrl.rollouts import store
from skillrl.types import Task, Trajectory

_LOG = logging.getLogger(__name__)

Key = tuple[str, int, int]


def key_of(task: Task, member: int, repeat: int) -> Key:
    """Names an episode among those of its iteration."""
    return task.id, member, repeat


class Journal:
    """Reads what was kept, and adds to it; a context manager, which closes the file."""

    def __init__(self, path: str | Path, header: Mapping[str, Any], *, earlier: Iterable[Path]):
        """Reads earlier files; writes nothing yet.

        Args:
          path: a new file, where to add rows.
          header: JSON values of what episodes depend on beside their job, e.g. the policy's
            version; a file with another header is not used.
          earlier: files of sessions before. One that cannot be read counts as far as it can.
        """
        self._path, self._header = Path(path), dict(header)
        self._file: IO[str] | None = None
        self._ended: dict[Key, Trajectory] = {}
        self._answers: dict[tuple[Key, int, int], Generated] = {}
        self._answered: set[tuple[Key, int]] = set()
        self._strayed: set[Key] = set()
        for file in earlier:
            self._read(file)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if self._file is None:
            return
        # What ends the block is what to say: a full disk refuses to close the file, too.
        with explained(self._path) if error is None else contextlib.suppress(OSError):
            self._file.close()

    @property
    def answers(self) -> int:
        """How many answers were kept."""
        return len(self._answered)

    @property
    def finished(self) -> int:
        """How many finished episodes were kept."""
        return len(self._ended)

    def ended(self, key: Key) -> Trajectory | None:
        """Returns a finished episode that was kept, or None."""
        return self._ended.get(key)

    def answer(self, key: Key, number: int, request: Generate) -> Generated | None:
        """Returns what the engine answered at a step before, or None.

        Args:
          key: of the episode.
          number: of the step, from 0.
          request: what is asked now. Where it is not what was asked then, as the environment
            answered otherwise, nothing of the rest is used.
        """
        if key in self._strayed or (key, number) not in self._answered:
            return None
        answer = self._answers.get((key, number, _digest(request)))
        if answer is None:
            self._strayed.add(key)
            _LOG.warning(
                "task %s, member %d: step %d looks otherwise than before the run was stopped (the "
                "environment answers otherwise); the rest of that episode is sampled anew",
                key[0], key[1], number + 1,
            )  # fmt: skip
            return None
        return answer

    def keep_answer(self, key: Key, number: int, request: Generate, answer: Generated) -> None:
        """Adds an answer of the engine; one with a number that is not finite is left out.

        Raises:
          SkillRLError: the disk refuses.
        """
        row = {"episode": list(key), "step": number, "asked": _digest(request)}
        self._write(row | {"answer": dataclasses.asdict(answer)})

    def keep_ended(self, key: Key, trajectory: Trajectory) -> None:
        """Adds a finished episode; raises as `keep_answer`."""
        self._write({"episode": list(key), "trajectory": store.to_json(trajectory)})

    def _write(self, row: Mapping[str, Any]) -> None:
        try:
            line = sealed_line(row)
        except ValueError:
            return  # of a policy that has diverged, which `play` says
        with explained(self._path):
            if self._file is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._file = open(self._path, "x", encoding="utf-8")  # noqa: SIM115
                self._file.write(sealed_line({"header": self._header}))
            self._file.write(line)
            self._file.flush()

    def _read(self, path: Path) -> None:
        ours = False
        try:
            for row in read_jsonl(path, required=True):
                if "header" in row:
                    ours = row["header"] == self._header
                elif ours:
                    self._take(row)
        except (SkillRLError, KeyError, TypeError, ValueError) as error:
            _LOG.warning("%s: only what comes before is used, the rest is sampled anew", error)

    def _take(self, row: Mapping[str, Any]) -> None:
        task, member, repeat = row["episode"]
        key: Key = (task, member, repeat)
        if "trajectory" in row:
            self._ended[key] = store.from_json(row["trajectory"])
        else:
            answer = records.read(Generated, row["answer"])
            self._answers[key, row["step"], row["asked"]] = answer
            self._answered.add((key, row["step"]))


def _digest(request: Generate) -> int:
    """Makes a number of all that an answer depends on."""
    asked = (request.prefix_ids, request.suffix_ids, request.rng_address, request.text)
    return zlib.crc32(repr(asked).encode())
