"""One worker host: an engine, K RQ workers, and the announcement that they are there.

A child that ends is started again, after a pause that doubles with each quick death. The engine
is given up when it says that starting again will not help, or when it keeps dying.
"""

import logging
import os
import signal
import socket
import sys
import threading
import time
import uuid
from contextlib import suppress
from datetime import UTC, datetime

from redis import Redis
from redis.exceptions import RedisError

from worker import fleet
from worker.child import CANNOT_START, Child, GivenUp, end_all
from worker.contract import LEARNING_QUEUE_NAME, WorkerReport
from worker.engine.client import EngineClient, EngineLost
from worker.engine.protocol import EngineStatus
from worker.process import wait_passively
from worker.publishing import publish_prompts
from worker.queueing import create_app_redis
from worker.sampling.keys import SecretUnusable, commitment, create_secret, load_secret
from worker.settings import WorkerSettings
from worker.signing import create_signing_key, encode_public_key

log = logging.getLogger(__name__)

_TICK_S = 0.5
_ANNOUNCE_S = 4.0
_STOP_GRACE_S = 10.0
_SILENT_ENGINE_S = 60.0


class Supervisor:
    """Keeps one worker host running until `stop`."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._name = f"{socket.gethostname()}-{uuid.uuid4().hex[:8]}"
        self._started_at = datetime.now(UTC)
        self._stopping = threading.Event()
        self._was_ready = False
        self._answered = (-1.0, 0.0)  # of which start of the engine, and when
        self._redis: Redis = create_app_redis(settings.redis_url.get_secret_value())
        create_secret(settings.secret_path)
        secret = load_secret(settings.secret_path)
        self._commitment = commitment(secret)
        self._signing_key = encode_public_key(create_signing_key(secret).public_key())
        python = [sys.executable, "-m"]
        self.engine = Child(name="engine", command=[*python, "worker.engine"])
        self.rq_workers = [
            Child(name=f"rq worker {i}", command=[*python, "worker.rq_worker"])
            for i in range(settings.rq_workers)
        ]
        self.learning_workers = [
            Child(name=f"learning {i}", command=[*python, "worker.rq_worker", LEARNING_QUEUE_NAME])
            for i in range(settings.learning_workers)
        ]

    @property
    def _children(self) -> list[Child]:
        return [self.engine, *self.rq_workers, *self.learning_workers]

    def stop(self) -> None:
        """Ends `run`. Safe in a signal handler."""
        self._stopping.set()

    def run(self) -> None:
        """Runs until `stop`.

        Raises:
            GivenUp: the engine or a worker cannot run here.
            worker.fleet.OtherSecret: this Redis is bound to another key secret.
        """
        try:
            self._publish_keys()
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

    def _publish_keys(self) -> None:
        """Waits for Redis and binds it to the key secret; OtherSecret when it is bound already."""
        while not self._stopping.is_set():
            try:
                fleet.publish_keys(self._redis, self._commitment, self._signing_key)
                publish_prompts(self._redis, self._settings.prompts)
                return
            except RedisError as error:
                log.warning("redis_unreachable", extra={"fields": {"reason": str(error)}})
                self._stopping.wait(2.0)

    def _announce(self) -> None:
        status = self._ask_engine()
        self._was_ready = status is not None
        self._kill_hung_engine(answers=self._was_ready)
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

    def _kill_hung_engine(self, *, answers: bool) -> None:
        """An engine that was ready and is silent for a minute is killed; its jobs go on anew."""
        now = time.monotonic()
        if answers:
            self._answered = (self.engine.started, now)
        started, last = self._answered
        if not answers and started == self.engine.started and now - last > _SILENT_ENGINE_S:
            log.error("engine_silent", extra={"fields": {"seconds": round(now - last)}})
            self.engine.signal(signal.SIGKILL)

    def _ask_engine(self) -> EngineStatus | None:
        if self.engine.has_ended():
            return None
        try:
            with EngineClient.connect(self._settings.socket_path, wait_s=0) as client:
                return client.status(timeout_s=2.0)
        except EngineLost:
            return None

    def _end_children(self) -> None:
        """RQ workers first, with time for the job under way; then the engine."""
        end_all([*self.rq_workers, *self.learning_workers], grace_s=_STOP_GRACE_S)
        end_all([self.engine], grace_s=_STOP_GRACE_S)


def main() -> int:
    """Runs one worker host until SIGTERM or SIGINT.

    Exit status `CANNOT_START` when starting again would not help; the last line says why.
    """
    wait_passively()  # inherited by the engine
    try:
        supervisor = Supervisor(WorkerSettings())
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: supervisor.stop())
        log.info("supervisor_started", extra={"fields": {"pid": os.getpid()}})
        supervisor.run()
    except (GivenUp, SecretUnusable, fleet.OtherSecret) as error:
        log.error("given_up", extra={"fields": {"reason": str(error)}})
        return CANNOT_START
    return 0
