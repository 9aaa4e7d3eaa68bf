"""The whole service on one machine: Redis, worker host and app under one supervisor."""

import os
import socket
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from shutil import disk_usage

from redis.exceptions import RedisError

from app.deployment.redis_log import describe_damage
from app.deployment.redis_server import (
    forget_redis,
    lock_data_dir,
    redis_command,
    remember_redis,
)
from app.deployment.service_backup import EVALUATIONS
from app.server.access.api_keys import KEYS_FILE_NAME
from app.server.access.keyring import Keyring
from app.server.access.owned_records import OwnedRecords
from app.server.access.sign_on.found import find_sign_on
from app.server.jobs.evaluations.record import find_key_owner
from app.server.middleware.perimeter import require_loopback
from app.settings import AppSettings
from models.files.audit_log import AUDIT_LOG_NAME
from worker.health import find_fault
from worker.processes.child import Child, end_all
from worker.processes.parent import with_parent
from worker.store.connection import create_app_redis

_TICK_S = 0.1
_SOON_HEALTHY_S = 10.0  # for a process that starts within a second or two
_REDIS_WITHIN_S = 10.0
_READY_WITHIN_S = 300.0  # a machine that has other work may need minutes
_REDIS_SOCKET, _ENGINE_SOCKET = "redis.sock", "engine.sock"
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # never through a proxy


class CannotStart(ValueError):
    """The service cannot start here; the sentence says what to do."""


class LocalStack:
    """Runs the service until `stop`. Any part that ends before is restarted."""

    def __init__(self, *, host: str, port: int, data_dir: Path, workers: int = 1) -> None:
        self._host, self._port, self._workers = host, port, workers
        self._data_dir = data_dir
        self._stopping = threading.Event()
        self._settings = AppSettings()
        self._keys_file = self._settings.keys_file or data_dir / KEYS_FILE_NAME
        self._own_redis = not os.environ.get("REDIS_URL")

    @property
    def url(self) -> str:
        """The address at which the service answers."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    def stop(self) -> None:
        """Ends `run`. Safe in a signal handler."""
        self._stopping.set()

    def run(self, on_ready: Callable[[], None]) -> None:
        """Runs until `stop`. Calls `on_ready` once, when the service can certify.

        Raises:
            CannotStart: the port is in use, Redis does not start, or records belong to keys that
                the service does not have.
            app.server.middleware.perimeter.NotLoopback: others could reach the service, and it has
                no keys.
            worker.processes.child.GivenUp: a part keeps ending.
        """
        self._require_keys()
        self._require_free_port()
        with (
            self._own_data_dir(),
            tempfile.TemporaryDirectory(prefix="promptsmooth-") as runtime,  # sockets: short paths
        ):
            self._run_in(Path(runtime), on_ready)

    @contextmanager
    def _own_data_dir(self) -> Iterator[None]:
        with lock_data_dir(self._data_dir) as free:
            if not free:
                raise CannotStart(
                    f"another service uses the data folder {self._data_dir}; "
                    "stop it, or choose another folder with --data-dir"
                )
            yield

    def _run_in(self, runtime: Path, on_ready: Callable[[], None]) -> None:
        environment = self._environment(runtime)
        remember_redis(self._data_dir, environment["REDIS_URL"])
        redis = [self._redis(runtime)] if self._own_redis else []
        worker, app = self._worker(environment), self._app(environment)
        try:
            for child in redis:
                child.keep_running(time.monotonic())
            self._wait_for_redis(environment["REDIS_URL"])
            self._require_keys_of_records(environment["REDIS_URL"])
            engine_socket = runtime / _ENGINE_SOCKET
            self._keep_running([*redis, worker, app], engine_socket, on_ready)
        finally:
            end_all([app], grace_s=5)
            end_all([worker], grace_s=25)
            end_all(redis, grace_s=10)
            forget_redis(self._data_dir)

    @property
    def _evaluations(self) -> Path:
        return Path(os.environ.get("PROMPTSMOOTH_EVALUATIONS", self._data_dir / EVALUATIONS))

    def _environment(self, runtime: Path) -> dict[str, str]:
        own = {"REDIS_URL": f"unix://{runtime / _REDIS_SOCKET}"} if self._own_redis else {}
        return {
            **os.environ,
            **own,
            "PROMPTSMOOTH_DATA_DIR": str(self._data_dir),
            "PROMPTSMOOTH_ENGINE_SOCKET": str(runtime / _ENGINE_SOCKET),
            "PROMPTSMOOTH_KEYS_FILE": str(self._keys_file),
            "PROMPTSMOOTH_AUDIT_LOG": os.environ.get(
                "PROMPTSMOOTH_AUDIT_LOG", str(self._data_dir / AUDIT_LOG_NAME)
            ),
            "PROMPTSMOOTH_EVALUATIONS": str(self._evaluations),
        }

    def _require_keys(self) -> None:
        sign_on = find_sign_on(self._settings.sign_on_file) is not None
        if not self._settings.open and not Keyring(self._keys_file, sign_on=sign_on).required:
            require_loopback(self._host)

    def _require_keys_of_records(self, url: str) -> None:
        sign_on = find_sign_on(self._settings.sign_on_file) is not None
        keyring = Keyring(self._keys_file, sign_on=sign_on)
        owned = OwnedRecords(keyring, partial(find_key_owner, self._evaluations))
        fault = owned.find_fault(create_app_redis(url))
        if fault is not None:
            raise CannotStart(fault)

    def _require_free_port(self) -> None:
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((self._host, self._port))
            except OSError as error:
                raise CannotStart(
                    f"{self._host}:{self._port} cannot be used ({error.strerror}); "
                    "choose another with --port"
                ) from error

    def _redis(self, runtime: Path) -> Child:
        command = redis_command(self._data_dir / "redis", runtime / _REDIS_SOCKET)
        return Child(
            name="redis",
            command=with_parent(command),
            healthy_after_s=_SOON_HEALTHY_S,
            hint=self._describe_redis,
            persists=True,
        )

    def _describe_redis(self) -> str:
        """What to check when Redis ends. It ends when it cannot write, as on a full disk."""
        if (damage := describe_damage(self._data_dir)) is not None:
            return damage
        log, free_mb = self._data_dir / "redis" / "redis.log", disk_usage(self._data_dir).free / 1e6
        return f"look at {log}; its disk has {free_mb:.0f} MB free"

    def _worker(self, environment: Mapping[str, str]) -> Child:
        command = with_parent([sys.executable, "-m", "worker"])
        return Child(name="worker", command=command, environment=environment)

    def _app(self, environment: Mapping[str, str]) -> Child:
        options = ["--host", self._host, "--port", str(self._port)]
        options += ["--workers", str(self._workers)]
        command = [sys.executable, "-m", "app", *options]
        return Child(
            name="app",
            command=with_parent(command),
            environment=environment,
            healthy_after_s=_SOON_HEALTHY_S,
        )

    def _wait_for_redis(self, url: str) -> None:
        deadline = time.monotonic() + _REDIS_WITHIN_S
        while True:
            try:
                create_app_redis(url).ping()
                return
            except ValueError as error:
                raise CannotStart(
                    f"REDIS_URL is not the address of a Redis server: {error}"
                ) from error
            except RedisError as error:
                if time.monotonic() > deadline:
                    hint = f"; {self._describe_redis()}" if self._own_redis else ""
                    raise CannotStart(
                        f"Redis does not answer within {_REDIS_WITHIN_S:g} s: {error}{hint}"
                    ) from error
                time.sleep(0.05)

    def _keep_running(
        self, children: list[Child], engine_socket: Path, on_ready: Callable[[], None]
    ) -> None:
        ready, deadline = False, time.monotonic() + _READY_WITHIN_S
        while not self._stopping.is_set():
            for child in children:
                child.keep_running(time.monotonic())
            if not ready and self._is_ready(engine_socket):
                ready = True
                on_ready()
            if not ready and time.monotonic() > deadline:
                raise CannotStart(f"not ready after {_READY_WITHIN_S:g} s; the log says why")
            self._stopping.wait(_TICK_S)

    def _is_ready(self, engine_socket: Path) -> bool:
        """Whether this machine's own engine and app are ready. /readyz also counts other hosts."""
        if find_fault(engine_socket) is not None:
            return False
        try:
            with _OPENER.open(f"{self.url}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:  # refused, or 503 while something is missing
            return False
