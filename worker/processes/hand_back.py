"""A job given back to the queue under way: its host is draining, or has no engine just now.

The RQ worker sends its work-horse SIGUSR1. A work-horse that waits is woken at once; one that
counts goes on to its next chunk, which is stored. The job returns to the front of the queue and
has lost none of its attempts.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

HAND_BACK = signal.SIGUSR1


class HandedBack(Exception):
    """The job belongs to the queue again; it has neither ended nor failed."""


class _Request:
    """What was asked of this process: as a signal is, one for all of it."""

    asked = False
    waiting = False


def listen() -> None:
    """Heeds the signal from now on."""
    signal.signal(HAND_BACK, _on_signal)


def _on_signal(*_: object) -> None:
    _Request.asked = True
    if _Request.waiting:
        _Request.waiting = False
        raise HandedBack


def heed() -> None:
    """HandedBack when the job is to be given back."""
    if _Request.asked:
        raise HandedBack


@contextmanager
def interruptible() -> Iterator[None]:
    """A block that only waits, and may be left at any point by HandedBack."""
    _Request.waiting = True
    try:
        heed()
        yield
    finally:
        _Request.waiting = False
