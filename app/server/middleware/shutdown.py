"""Notices that the process was told to stop while connections are still open.

uvicorn ends the lifespan after the last answer, and an answer that is a stream ends when the
certification does. So a stream has to hear of the signal itself.
"""

import asyncio
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import anyio

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def noticing_signals(stopping: anyio.Event) -> Iterator[None]:
    """Sets the event on SIGINT or SIGTERM, and leaves the rest to whoever handled them before.

    Where the app does not run in the main thread, nobody can notice signals, and none are.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in _SIGNALS}

    def notice(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(stopping.set)
        handler = before[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)

    for number in _SIGNALS:
        signal.signal(number, notice)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
