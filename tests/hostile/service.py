"""The app as a process of its own before a real queue, and what it costs while others send."""

import http.client
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import psutil
from ports import find_free_port
from waiting import HANG_S, wait_until

PAUSE_S = 0.005
_SPAWN = multiprocessing.get_context("spawn")


@dataclass(frozen=True, kw_only=True)
class App:
    """A running app; bodies go to it over plain HTTP."""

    process: subprocess.Popen[bytes]
    port: int

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=HANG_S)

    def ask(self, path: str, *, method: str = "GET") -> int:
        """The status of an answer to a request without a body; 0 if none came."""
        connection = self.connect()
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            return 0
        finally:
            connection.close()
        return answer.status

    @property
    def memory_mb(self) -> float:
        """What the app's own process holds; the decoder's processes have bounds of their own."""
        return float(psutil.Process(self.process.pid).memory_info().rss / 1e6)


@contextmanager
def running_app(folder: Path, redis_url: str, **settings: str) -> Iterator[App]:
    """Runs `python -m app` while the block does."""
    environment = {
        **os.environ,
        "REDIS_URL": redis_url,
        **{f"PROMPTSMOOTH_{name.upper()}": value for name, value in settings.items()},
    }
    port = find_free_port()
    command = [sys.executable, "-m", "app", "--port", str(port)]
    log = folder / "app.log"
    with log.open("ab") as file:
        process = subprocess.Popen(command, env=environment, stdout=file, stderr=file)
    app = App(process=process, port=port)
    try:
        wait_until(lambda: is_up(app, log), pause_s=0.1, say=log.read_text)
        yield app
    finally:
        process.terminate()
        process.wait(HANG_S)


def is_up(app: App, log: Path) -> bool:
    assert app.process.poll() is None, log.read_text()
    return app.ask("/healthz") == 200


@contextmanager
def watching_health(port: int) -> Iterator[list[float]]:
    """A list that holds, once the block ends, the seconds of each answer of /healthz meanwhile."""
    ours, theirs = _SPAWN.Pipe()
    watcher = _SPAWN.Process(target=_watch, args=(port, theirs))
    watcher.start()
    found: list[float] = []
    ours.recv()
    try:
        yield found
    finally:
        ours.send("end")
        found += ours.recv()
        watcher.join(HANG_S)


def _watch(port: int, ended: Connection) -> None:
    """In a process of its own: whoever sends bodies does not delay it."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=HANG_S)
    took: list[float] = []
    ended.send("begun")
    while not took or not ended.poll(PAUSE_S):
        start = time.perf_counter()
        connection.request("GET", "/healthz")
        connection.getresponse().read()
        took.append(time.perf_counter() - start)
    ended.send(took)


def find_p99(seconds: list[float]) -> float:
    """The time within which 99 of 100 answers came."""
    return sorted(seconds)[max(0, int(len(seconds) * 0.99) - 1)]
