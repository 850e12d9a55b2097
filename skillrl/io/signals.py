"""Makes SIGTERM, as batch systems and containers send it, end a command as Ctrl-C does."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType


class Terminated(KeyboardInterrupt):
    """Stands for SIGTERM: everything that cleans up after Ctrl-C does so after it, too."""


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """Lets SIGTERM raise `Terminated` in the block, once; where it is ignored, it stays so.

    A second SIGTERM would cut short what the first has begun, such as saving.

    Only the main thread receives signals; in others this does nothing.
    """
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _raise)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _raise(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Terminated


def terminate() -> bool:
    """Sends this process SIGTERM, from any thread, unless it would kill it or is ignored.

    Returns:
      Whether it was sent.
    """
    heard = callable(signal.getsignal(signal.SIGTERM))
    if heard:
        os.kill(os.getpid(), signal.SIGTERM)
    return heard
