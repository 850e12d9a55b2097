"""What SIGTERM leaves of a phase in one process; several: tests/parallel/test_processes.py."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from skillrl.io import signals
from skillrl.phases import stopping


def ended(block: Callable[[], None]) -> bool:
    """Whether SIGTERM ended `block`."""
    try:
        with signals.terminable():
            block()
    except signals.Terminated:
        return True
    return False


def test_sigterm_saves_once_and_ends_the_block():
    saved = []

    def save() -> None:
        signal.raise_signal(signal.SIGTERM)  # batch systems send several
        saved.append(True)

    def block() -> None:
        with stopping.saving(save, at=3):
            signal.raise_signal(signal.SIGTERM)
            saved.append("not here")

    assert ended(block)
    assert saved == [True]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_what_else_ends_a_block_saves_nothing(error):
    saved = []
    with pytest.raises(error), stopping.saving(lambda: saved.append(True), at=3):
        raise error
    assert not saved


def test_only_who_hears_sigterm_is_sent_it():
    assert not signals.terminate()  # it would end this process
    assert ended(lambda: signals.terminate() and signal.pause())
