"""Notices that the process was told to stop while connections are still open.

uvicorn ends the lifespan after the last answer, and a stream's answer ends only when its
certification does. So streams must learn of the signal directly.
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
    """Sets the event on SIGINT or SIGTERM, then calls the previous handler.

    Only the main thread can handle signals. In any other thread this does nothing.
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
