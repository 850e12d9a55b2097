"""Defines the one exception that people are meant to read.

A `SkillRLError` says what was wrong, where, and what to do about it. Launchers
print it as one paragraph and exit with status 2; anything else is a bug and
keeps its traceback.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence


class SkillRLError(Exception):
    """Says that input or surroundings are bad, with the remedy in the message."""


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
