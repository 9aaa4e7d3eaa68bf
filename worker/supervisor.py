"""One worker host: an engine, K RQ workers, and the announcement that they are there.

A child that ends is started again, after a pause that doubles with each quick death. The engine
is given up when it says that starting again will not help, or when it keeps dying.
"""

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

from redis import Redis
from redis.exceptions import RedisError

from worker import fleet, keyspace
from worker.contract import WorkerReport
from worker.engine.client import EngineClient, EngineLost
from worker.engine.protocol import EngineStatus
from worker.queueing import create_app_redis
from worker.sampling.keys import commitment, load_secret
from worker.settings import WorkerSettings

log = logging.getLogger(__name__)

ENGINE_CANNOT_START = 3
_TICK_S = 0.5
_ANNOUNCE_S = 4.0
_HEALTHY_AFTER_S = 60.0
_MAX_PAUSE_S = 10.0
_MAX_QUICK_DEATHS = 8
_STOP_GRACE_S = 10.0


class GivenUp(Exception):
    """This host cannot serve; the sentence says why and what to do."""


@dataclass(kw_only=True)
class Child:
    """One process that is kept running."""

    name: str
    command: Sequence[str]
    process: "subprocess.Popen[bytes] | None" = None
    started: float = 0.0
    start_at: float = 0.0
    quick_deaths: int = 0
    restarts: int = field(default=-1)

    def keep_running(self, now: float) -> None:
        """Starts the process when it is due, and notes when it has ended.

        Raises:
            GivenUp: it cannot start, or keeps dying.
        """
        if self.process is None:
            if now >= self.start_at:
                self._start(now)
        elif (code := self.process.poll()) is not None:
            self._note_death(code, now)

    def _start(self, now: float) -> None:
        self.process = subprocess.Popen(self.command, start_new_session=True)  # noqa: S603
        self.started, self.restarts = now, self.restarts + 1

    def _note_death(self, code: int, now: float) -> None:
        self.process = None
        self.quick_deaths = 1 if now - self.started > _HEALTHY_AFTER_S else self.quick_deaths + 1
        fields = {"child": self.name, "exit_status": code, "quick_deaths": self.quick_deaths}
        log.warning("child_ended", extra={"fields": fields})
        if code == ENGINE_CANNOT_START:
            raise GivenUp(f"the {self.name} cannot start; its last line above says why")
        if self.quick_deaths > _MAX_QUICK_DEATHS:
            raise GivenUp(
                f"the {self.name} ended {self.quick_deaths} times in a row soon after start"
            )
        self.start_at = now + min(_MAX_PAUSE_S, 0.25 * 2 ** (self.quick_deaths - 1))

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal; a process that is gone does not mind."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                self.process.send_signal(number)

    def has_ended(self) -> bool:
        return self.process is None or self.process.poll() is not None


class Supervisor:
    """Keeps one worker host running until `stop`."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._name = f"{socket.gethostname()}-{uuid.uuid4().hex[:8]}"
        self._started_at = datetime.now(UTC)
        self._stopping = threading.Event()
        self._redis: Redis = create_app_redis(settings.redis_url.get_secret_value())
        self._commitment = commitment(load_secret(settings.secret_path))
        python = [sys.executable, "-m"]
        self.engine = Child(name="engine", command=[*python, "worker.engine"])
        self.rq_workers = [
            Child(name=f"rq worker {i}", command=[*python, "worker.rq_worker"])
            for i in range(settings.rq_workers)
        ]

    @property
    def _children(self) -> list[Child]:
        return [self.engine, *self.rq_workers]

    def stop(self) -> None:
        """Ends `run`. Safe in a signal handler."""
        self._stopping.set()

    def run(self) -> None:
        """Runs until `stop`.

        Raises:
            GivenUp: the engine or a worker cannot run here, or the key secret is another one.
        """
        try:
            self._register_commitment()
            announced = 0.0
            while not self._stopping.is_set():
                now = time.monotonic()
                for child in self._children:
                    child.keep_running(now)
                if now - announced >= _ANNOUNCE_S or announced == 0.0 or not self._was_ready:
                    self._announce()
                    announced = now
                self._stopping.wait(_TICK_S)
        finally:
            self._end_children()
            with suppress(RedisError):
                fleet.withdraw(self._redis, self._name)

    _was_ready = False

    def _register_commitment(self) -> None:
        """The first host publishes the commitment to the key secret; all others must share it."""
        while not self._stopping.is_set():
            try:
                self._redis.set(keyspace.KEY_COMMITMENT, self._commitment, nx=True)
                published = self._redis.get(keyspace.KEY_COMMITMENT)
                break
            except RedisError as error:
                log.warning("redis_unreachable", extra={"fields": {"reason": str(error)}})
                self._stopping.wait(2.0)
        else:
            return
        if published != self._commitment.encode():
            raise GivenUp(
                f"the key secret {self._settings.secret_path} is not the one this Redis knows: "
                "give every worker host the same secret file, or remove the key "
                f"{keyspace.KEY_COMMITMENT} to begin anew with this one"
            )

    def _announce(self) -> None:
        status = self._ask_engine()
        self._was_ready = status is not None
        report = WorkerReport(
            name=self._name,
            started_at=self._started_at,
            ready=status is not None,
            key_commitment=self._commitment,
            models=status.models if status else (),
            samples_per_s=status.samples_per_s if status else {},
        )
        with suppress(RedisError):
            fleet.announce(self._redis, report)

    def _ask_engine(self) -> EngineStatus | None:
        if self.engine.has_ended():
            return None
        try:
            with EngineClient.connect(self._settings.socket_path, wait_s=0) as client:
                return client.status(timeout_s=2.0)
        except EngineLost:
            return None

    def _end_children(self) -> None:
        """RQ workers first, with time for the job under way; then the engine; then force."""
        for group in (self.rq_workers, [self.engine]):
            for child in group:
                child.signal(signal.SIGTERM)
            self._wait_until_ended(group)
        for child in self._children:
            child.signal(signal.SIGKILL)
            if child.process is not None:
                child.process.wait()

    def _wait_until_ended(self, children: Sequence[Child]) -> None:
        deadline = time.monotonic() + _STOP_GRACE_S
        while time.monotonic() < deadline:
            if all(child.has_ended() for child in children):
                return
            time.sleep(0.05)


def main() -> int:
    """Runs one worker host until SIGTERM or SIGINT; the exit status is 1 when it gave up."""
    supervisor = Supervisor(WorkerSettings())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: supervisor.stop())
    log.info("supervisor_started", extra={"fields": {"pid": os.getpid()}})
    try:
        supervisor.run()
    except GivenUp as error:
        log.error("given_up", extra={"fields": {"reason": str(error)}})
        return 1
    return 0
