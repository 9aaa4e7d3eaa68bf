"""Hands a running job back to the queue, because its host is draining or has no engine.

The RQ worker sends SIGUSR1 to its work-horse. SIGTERM counts as the same request: Slurm and systemd
send it to every process of a host at once. A waiting work-horse wakes at once. A counting one
stores its votes after the next range. The job returns to the front of the queue with all its
attempts left.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

HAND_BACK = signal.SIGUSR1


class HandedBack(Exception):
    """The job goes back to the queue. It has neither ended nor failed."""


class _Request:
    """The state of the request. Like a signal, it concerns the whole process."""

    asked = False
    waiting = False


def listen() -> None:
    """Installs the handler for both signals."""
    for number in (HAND_BACK, signal.SIGTERM):
        signal.signal(number, _on_signal)


def _on_signal(*_: object) -> None:
    _Request.asked = True
    if _Request.waiting:
        _Request.waiting = False
        raise HandedBack


def is_asked() -> bool:
    """Whether the job is to be handed back."""
    return _Request.asked


def heed() -> None:
    """Raises HandedBack if the job is to be handed back."""
    if _Request.asked:
        raise HandedBack


@contextmanager
def interruptible() -> Iterator[None]:
    """A block that only waits. HandedBack may be raised at any point in it."""
    _Request.waiting = True
    try:
        heed()
        yield
    finally:
        _Request.waiting = False
