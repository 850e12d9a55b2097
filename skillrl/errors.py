"""Defines the one exception that people are meant to read.

A `SkillRLError` says what was wrong, where, and what to do about it. Launchers
print it as one paragraph and exit with its status; anything else is a bug and
keeps its traceback.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FULL_TEXTS = ("No space left on device", "Disk quota exceeded", "File too large")


class SkillRLError(Exception):
    """Says that input or surroundings are bad, with the remedy in the message.

    Attributes:
      exit_status: of a command that it ends.
    """

    exit_status: ClassVar[int] = 2


class Problems(SkillRLError):
    """Says several things that are wrong at once.

    Attributes:
      problems: a message each, with its remedy.
    """

    def __init__(self, problems: Sequence[str]):
        super().__init__(" ".join(problems))
        self.problems = tuple(problems)


class DoesNotFit(SkillRLError):
    """Skills and limits of the prompt do not go together, so that no episode of a kind can be
    played: a matter of settings, and no fault of one episode."""


class Corrupt(SkillRLError):
    """Says that what a run wrote is not what it was: a byte or a file has changed."""


class Alarmed(SkillRLError):
    """Says that training shows signs of collapse, where the settings end a run for that."""

    exit_status = 3


class NoSpace(SkillRLError):
    """Says that a disk is full or a quota used up: the same command goes on once there is room."""

    exit_status = 74  # EX_IOERR of sysexits.h


def about_writing(error: BaseException) -> type[SkillRLError]:
    """Chooses what to raise where `error` ended a write: `NoSpace` if it was for want of room.

    Examples:
      >>> about_writing(OSError(errno.ENOSPC, "No space left on device")).__name__
      'NoSpace'
    """
    texts, todo = [], [error]
    while todo:
        one = todo.pop()
        if isinstance(one, OSError) and one.errno in _FULL:
            return NoSpace
        texts.append(str(one))
        todo += one.exceptions if isinstance(one, BaseExceptionGroup) else []
        todo += [one.__cause__] if one.__cause__ is not None else []
    full = any(word in text for word in _FULL_TEXTS for text in texts)
    return NoSpace if full else SkillRLError


class EnvironmentLost(RuntimeError):
    """The environment of one episode is gone for good, e.g. its server.

    Not a `SkillRLError`, which would end the run: this episode is recorded as errored,
    excluded and counted, and the others go on.

    Attributes:
      rejected: its server is there and refuses this one thing, every time: no sign that the
        other episodes are in danger.
    """

    def __init__(self, message: str = "", *, rejected: bool = False):
        super().__init__(message)
        self.rejected = rejected


@contextlib.contextmanager
def finally_do(end: Callable[[], object]) -> Iterator[None]:
    """Calls `end` after the block, however that ends, and never hides why it ended.

    What `end` raises is raised after a block that went well; after an exception it becomes a
    note on that one, the first cause.
    """
    try:
        yield
    except BaseException as first:
        try:
            end()
        except Exception as second:
            first.add_note(f"Then {type(second).__name__}: {second}")
        raise
    else:
        end()
