"""How long /healthz takes, measured by a process that does nothing else."""

import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

import httpx2

_PAUSE_S = 0.2


@contextmanager
def watching_health(url: str) -> Iterator[list[float]]:
    """Asks five times a second during the block; the list holds the milliseconds after it."""
    taken_ms: list[float] = []
    spawned = multiprocessing.get_context("spawn")
    ours, theirs = spawned.Pipe()
    process = spawned.Process(target=_watch, args=(url, theirs))
    process.start()
    try:
        yield taken_ms
    finally:
        ours.send("stop")
        taken_ms += ours.recv()
        process.join()


def _watch(url: str, parent: Connection) -> None:
    taken_ms = []
    with httpx2.Client(base_url=url, timeout=30, trust_env=False) as http:
        while not parent.poll(_PAUSE_S):
            started = time.monotonic()
            http.get("/healthz").raise_for_status()
            taken_ms.append((time.monotonic() - started) * 1000)
    parent.send(taken_ms)
