"""Supervises one worker host: runs an engine and several RQ workers, and announces the host.

A child that ends is restarted, after a pause that doubles with each quick death. The supervisor
gives up if the engine reports that a restart will not help, or if it keeps dying. RQ workers start
once the engine is ready for the first time, so that no job waits here while another host could run
it. They end when the operator asks this host to drain, and start again when it is resumed.
"""

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

from models.log import get_logger
from worker.contract import LEARNING_QUEUE_NAME, QUEUE_NAME, HostState, WorkerReport
from worker.contract.certificate.signature import create_signing_key, encode_public_key
from worker.contract.protocol import EngineStatus
from worker.engine.client import EngineClient, EngineLost
from worker.jobs.publish_prompts import publish_prompts
from worker.jobs.queue import free_jobs_of
from worker.key_secret import SecretUnusable, commitment, create_secret, load_secret
from worker.processes.child import CANNOT_START, Child, GivenUp, end_all, wait_for_all
from worker.processes.hand_back import HAND_BACK
from worker.processes.parent import with_parent
from worker.processes.scheduling import wait_passively
from worker.processes.socket_claim import SocketTaken, claim_socket
from worker.processes.start import read_settings
from worker.settings import WorkerSettings
from worker.store import hosts
from worker.store.connection import create_app_redis

log = get_logger(__name__)

_TICK_S = 0.2
_ANNOUNCE_S = 4.0
_STOP_GRACE_S = 10.0
_SILENT_ENGINE_S = 60.0
_DRAIN_EVERY_S = 1.0
_SOON_HEALTHY_S = 10.0  # for children that start in a second or two
_BROKEN_DEATHS = 3  # of an engine, in a row


class Supervisor:
    """Keeps one worker host running until `stop`."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._name = f"{socket.gethostname()}-{uuid.uuid4().hex[:8]}"
        self._started_at = datetime.now(UTC)
        self._stopping = threading.Event()
        self._was_ready = False
        self._answered = (-1.0, 0.0)  # start time of the engine that last answered, and when it did
        self._may_take = False  # the engine has been ready
        self._drain: hosts.How | None = None
        self._drain_looked_at = 0.0
        self._redis: Redis = create_app_redis(
            settings.redis_url.get_secret_value(), ca_file=settings.redis_ca
        )
        create_secret(settings.secret_path)
        secret = load_secret(settings.secret_path)
        self._commitment = commitment(secret)
        self._signing_key = encode_public_key(create_signing_key(secret).public_key())
        self.engine = Child(name="engine", command=_own("worker.engine"))
        self.rq_workers = [self._create_taker(f"rq worker {i}") for i in range(settings.rq_workers)]
        self.urgent_workers = [
            self._create_taker(f"urgent worker {i}", QUEUE_NAME, "urgent")
            for i in range(settings.urgent_workers)
        ]
        self.learning_workers = [
            Child(name=f"learning {i}", command=_own("worker.rq_worker", LEARNING_QUEUE_NAME))
            for i in range(settings.learning_workers)
        ]

    def _create_taker(self, name: str, *arguments: str) -> Child:
        return Child(
            name=name,
            command=_own("worker.rq_worker", *arguments),
            healthy_after_s=_SOON_HEALTHY_S,
            on_death=self._free_jobs,
        )

    @property
    def _takers(self) -> list[Child]:
        """The children that take jobs."""
        return [*self.rq_workers, *self.urgent_workers, *self.learning_workers]

    @property
    def state(self) -> HostState:
        """The current state of this host."""
        if self._drain is not None:
            ended = all(child.has_ended() for child in self._takers)
            return "drained" if ended else "draining"
        if self._was_ready:
            return "ready"
        return "broken" if self.engine.quick_deaths >= _BROKEN_DEATHS else "starting"

    def stop(self) -> None:
        """Ends `run`. Safe in a signal handler."""
        self._stopping.set()

    def run(self) -> None:
        """Runs the host until `stop` is called.

        Raises:
            GivenUp: the engine or a worker cannot run here.
            worker.store.hosts.HalfRestored: this Redis holds only part of a backup.
            worker.store.hosts.OtherSecret: this Redis is bound to another key secret.
        """
        try:
            self._publish_keys()
            announced = 0.0
            announced_state: HostState | None = None
            while not self._stopping.is_set():
                now = time.monotonic()
                self._tend(now)
                if (
                    now - announced >= _ANNOUNCE_S
                    or announced == 0.0
                    or self.state != announced_state
                    or not self._was_ready
                ):
                    self._announce()
                    announced, announced_state = now, self.state
                self._stopping.wait(_TICK_S)
        except GivenUp as why:
            self._withdraw(f"{why}")
            raise
        else:
            self._drain = self._drain or "hand back"
            self._announce()
            self._end_children()
            self._withdraw()
        finally:
            end_all([*self._takers, self.engine], grace_s=0)

    def _free_jobs(self, pid: int) -> None:
        """Frees the job of a dead RQ worker at once: its work-horse died with it."""
        with suppress(RedisError):
            free_jobs_of(self._redis, socket.gethostname(), pid)

    def _withdraw(self, why_broken: str | None = None) -> None:
        """Withdraws the announcement of this host or, for a while, announces why it is broken."""
        with suppress(RedisError):
            if why_broken is None:
                hosts.withdraw(self._redis, self._name)
            else:
                report = self._report(None).model_copy(
                    update={"state": "broken", "detail": why_broken, "ready": False}
                )
                hosts.announce(self._redis, report, ttl_s=hosts.BROKEN_TTL_S)

    def _tend(self, now: float) -> None:
        """Keeps the right children running."""
        self._heed_drain_request(now)
        self.engine.keep_running(now)
        for child in self._takers:
            if self._drain is not None:
                child.reap()
            elif self._may_take:
                child.keep_running(now)

    def _heed_drain_request(self, now: float) -> None:
        """Checks whether the operator asked this host to drain, and if so ends its workers."""
        if now - self._drain_looked_at < _DRAIN_EVERY_S:
            return
        self._drain_looked_at = now
        try:
            how = hosts.find_drain_request(self._redis, self._name)
        except RedisError:
            return  # keep the last known drain request
        if how is not None and self._drain is None:
            self._end_takers(how)
        if how != self._drain:
            log.info("drain", how=how or "resumed")
        self._drain = how

    def _end_takers(self, how: hosts.How) -> None:
        for child in self._takers:
            child.end(HAND_BACK if how == "hand back" else signal.SIGTERM)

    def _publish_keys(self) -> None:
        """Waits for Redis and binds it to the key secret.

        Raises:
            worker.store.hosts.OtherSecret: Redis is bound to another key secret.
        """
        while not self._stopping.is_set():
            try:
                hosts.publish_keys(self._redis, self._commitment, self._signing_key)
                publish_prompts(self._redis, self._settings.prompts)
                return
            except RedisError as error:
                log.warning("redis_unreachable", reason=str(error))
                self._stopping.wait(2.0)

    def _announce(self) -> None:
        status = self._ask_engine()
        self._was_ready = status is not None
        self._may_take = self._may_take or self._was_ready
        self._kill_hung_engine(answers=self._was_ready)
        with suppress(RedisError):
            hosts.announce(self._redis, self._report(status))

    def _report(self, status: EngineStatus | None) -> WorkerReport:
        state = self.state
        return WorkerReport(
            name=self._name,
            started_at=self._started_at,
            ready=state == "ready",
            state=state,
            detail=self._detail(state),
            key_commitment=self._commitment,
            models=status.models if status else (),
            samples_per_s=status.samples_per_s if status else {},
            states=status.states if status else None,
            figures=status.figures if status else None,
            rq_workers=len(self.rq_workers),
            restarts={
                "engine": max(0, self.engine.restarts),
                "rq worker": _count_restarts(self.rq_workers),
                "urgent worker": _count_restarts(self.urgent_workers),
                "learning worker": _count_restarts(self.learning_workers),
            },
        )

    def _detail(self, state: HostState) -> str:
        if state == "broken":
            deaths = self.engine.quick_deaths
            return f"the engine ended {deaths} times in a row soon after its start; see its log"
        return ""

    def _kill_hung_engine(self, *, answers: bool) -> None:
        """Kills an engine that was ready but has been silent for a minute. RQ retries its jobs."""
        now = time.monotonic()
        if answers:
            self._answered = (self.engine.started, now)
        started, last = self._answered
        if not answers and started == self.engine.started and now - last > _SILENT_ENGINE_S:
            log.error("engine_silent", seconds=round(now - last))
            self.engine.signal(signal.SIGKILL)
            self._answered = (started, now)  # so that this is logged once a minute at most

    def _ask_engine(self) -> EngineStatus | None:
        if self.engine.has_ended():
            return None
        try:
            with EngineClient.connect(self._settings.socket_path, wait_s=0) as client:
                return client.status(timeout_s=2.0)
        except EngineLost:
            return None

    def _end_children(self) -> None:
        """Ends the RQ workers first, which hand back their jobs, and then the engine."""
        self._end_takers("hand back")
        wait_for_all(self._takers, grace_s=_STOP_GRACE_S)
        end_all(self._takers, grace_s=0)
        end_all([self.engine], grace_s=_STOP_GRACE_S)


def _count_restarts(children: list[Child]) -> int:
    return sum(max(0, child.restarts) for child in children)


def _own(*program: str) -> list[str]:
    """The command that runs one of our modules as a child that never outlives this process."""
    return with_parent([sys.executable, "-m", *program])


_CANNOT_RUN = (GivenUp, SecretUnusable, SocketTaken, hosts.OtherSecret, hosts.HalfRestored)


def _supervise(settings: WorkerSettings) -> None:
    supervisor = Supervisor(settings)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: supervisor.stop())
    log.info("supervisor_started", pid=os.getpid())
    supervisor.run()


def main() -> int:
    """Runs one worker host until SIGTERM, SIGINT or SIGHUP.

    Exit status `CANNOT_START` means that a restart would not help; the last log line says why.
    """
    wait_passively()  # the engine inherits this
    try:
        settings = read_settings()
        with claim_socket(settings.socket_path):
            _supervise(settings)
    except _CANNOT_RUN as error:
        log.error("given_up", reason=str(error))
        return CANNOT_START
    return 0
