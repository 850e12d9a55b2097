"""Saves what a phase has when SIGTERM ends it: a preempted run loses no finished iteration."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from skillrl.io.signals import Terminated
from skillrl.parallel import joining, processes

WAIT = 8.0
"""Seconds to wait for the other processes before this one ends without saving: they hear of it
within a second, and half a minute is all that a preempted host may have."""


@contextlib.contextmanager
def saving(save: Callable[[], None], *, at: int) -> Iterator[None]:
    """Saves where SIGTERM ends the block, in which nothing may change what is saved.

    SIGTERM to one of several processes ends all of them. They save together, since each has a part
    of the state; where one of them is elsewhere, e.g. in an update, nobody saves, and the last
    checkpoint stands.

    Args:
      save: writes a checkpoint, together with the other processes.
      at: which iteration it is of; must be the same everywhere.
    """
    try:
        yield
    except Terminated as stop:
        joining.stop_others()
        found = processes.regroup("stop", at, limit=WAIT)
        if found is not None and set(found) == {at}:
            save()
            processes.everywhere(stop)
        raise
