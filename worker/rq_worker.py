"""The stock forking RQ worker with a few overrides: python -m worker.rq_worker [QUEUE [urgent]].

With `urgent` it takes urgent jobs alone. On SIGTERM it finishes its job and takes no other. On
SIGUSR1 it hands its job back to the queue and takes no other.
"""

import encodings.utf_16_be  # noqa: F401  # canonical JSON needs it, in every work-horse
import os
import signal
import socket
import sys
import uuid
from contextlib import suppress
from functools import partial
from traceback import extract_tb
from typing import Any

from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError
from rq import Worker, worker_registration
from rq.utils import now
from scipy import special  # noqa: F401  # bounds need it: see the tasks

import worker.tasks  # noqa: F401  # imported before the fork, so that a work-horse starts at once
from models.files.parent_death import die_with_parent
from models.log import get_logger
from worker.contract import LEARNING_QUEUE_NAME, QUEUE_NAME
from worker.engine.client import EngineLost
from worker.jobs import queue as job_queue
from worker.jobs import witness
from worker.jobs.janitor import Janitor, JobRecords
from worker.jobs.priority import PriorityQueue, UrgentQueue, give_turn, top_up
from worker.jobs.queue import CertificationRqJob, create_queue
from worker.jobs.retries import renew_attempts
from worker.learning import queue as learning_queue
from worker.learning import store as learning_store
from worker.processes import hand_back
from worker.processes.hand_back import HAND_BACK, HandedBack
from worker.processes.logs import configure_logging
from worker.processes.scheduling import let_others_go_first
from worker.processes.start import read_settings
from worker.settings import WorkerSettings
from worker.store import keyspace
from worker.store.connection import create_worker_redis, when_there_is_room
from worker.store.counters import count_event
from worker.store.jobs import results
from worker.store.jobs.fence import Superseded
from worker.store.retention import sweep_hourly

log = get_logger(__name__)

HEARTBEAT_TTL_S = 20
MONITORING_INTERVAL_S = 5
WORKER_TTL_S = 25
MAINTENANCE_INTERVAL_S = 5
_POLL_S = 1  # how long an idle worker may take to notice that it has to stop


class CertificationWorker(Worker):
    """Notices dead workers within seconds instead of minutes, and leaves no process behind."""

    queue_class = PriorityQueue
    settings: WorkerSettings
    janitor: Janitor
    _hand_back = False
    _reason = ""
    _engine_lost = False

    def get_heartbeat_ttl(self, job: Any, working_time: float = 0.0) -> int:  # noqa: ARG002
        """Seconds for which a silent job counts as alive. In stock RQ it is a minute or more."""
        return HEARTBEAT_TTL_S

    # --- Taking jobs ---

    @property
    def dequeue_timeout(self) -> int:
        """Seconds that one wait for a job may take."""
        return _POLL_S

    def dequeue_job_and_maintain_ttl(
        self, timeout: int | None, max_idle_time: int | None = None
    ) -> Any:
        """As in RQ, except that a stop takes effect between two waits, never within one.

        Stock RQ leaves a wait by an exception from the signal handler. A job that Redis hands over
        at that moment would be taken but never started.
        """
        if timeout is None:  # burst mode: an empty queue ends the work
            return self._look(timeout, max_idle_time)
        while not self._stop_requested:
            look = partial(self._look, timeout, max_idle_time or _POLL_S)
            found = when_there_is_room(look)
            if found is not None or max_idle_time is not None:
                return found
        return None

    def _look(self, timeout: int | None, max_idle_time: int | None) -> Any:
        """Takes the job whose turn it is, or the first that comes."""
        if self.queue_class is UrgentQueue:
            return super().dequeue_job_and_maintain_ttl(timeout, max_idle_time)
        with suppress(RedisConnectionError, RedisTimeoutError):  # RQ sees it next, and waits
            for queue in self.queues:
                give_turn(queue, aging_s=self.settings.aging_s)
        found = super().dequeue_job_and_maintain_ttl(timeout, max_idle_time)
        if found is not None:
            with suppress(RedisError):  # the job is taken; others look again within a second
                top_up(found[1])
        return found

    def set_state(self, state: str, pipeline: Any = None) -> None:
        """As in RQ, except that an unchanged state is not written again."""
        if state != self.get_state():
            super().set_state(state, pipeline)

    def heartbeat(self, timeout: int | None = None, pipeline: Any = None) -> None:
        """As in RQ, but between waits for a job only every `MONITORING_INTERVAL_S` seconds."""
        if timeout or pipeline is not None or self._is_silent:
            with suppress(OutOfMemoryError):
                super().heartbeat(timeout, pipeline)

    def maintain_heartbeats(self, job: Any, execution: Any) -> None:
        """As in RQ, except that a full Redis does not end the worker."""
        with suppress(OutOfMemoryError):
            super().maintain_heartbeats(job, execution)

    def prepare_execution(self, job: Any) -> Any:
        """As in RQ, except that the job waits for room if Redis is full."""
        return when_there_is_room(partial(super().prepare_execution, job))

    @property
    def _is_silent(self) -> bool:
        last = self.last_heartbeat
        return last is None or (now() - last).total_seconds() >= MONITORING_INTERVAL_S

    # --- Stopping ---

    def _install_signal_handlers(self) -> None:
        super()._install_signal_handlers()  # type: ignore[no-untyped-call]
        signal.signal(HAND_BACK, self._request_hand_back)

    def _shutdown(self) -> None:
        """Stops after the current job, or after the current wait for one."""
        self._stop_requested = True

    def _request_hand_back(self, *_: object) -> None:
        self._hand_back = self._stop_requested = True
        if self.horse_pid:
            self.kill_horse(HAND_BACK)

    def fork_work_horse(self, job: Any, queue: Any) -> None:
        """As in RQ, except that a hand-back signal waits until the work-horse can handle it.

        RQ signals the work-horse's process group. Until the work-horse has made its own, that would
        be the group of this worker.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, {HAND_BACK})
        super().fork_work_horse(job, queue)  # only the parent returns
        with suppress(ProcessLookupError, PermissionError):  # it has ended, or was first
            os.setpgid(self.horse_pid, self.horse_pid)
        if self._hand_back:
            os.kill(self.horse_pid, HAND_BACK)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {HAND_BACK})

    def setup_work_horse_signals(self) -> None:
        super().setup_work_horse_signals()  # type: ignore[no-untyped-call]
        hand_back.listen()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {HAND_BACK})

    # --- Running jobs ---

    def main_work_horse(self, job: Any, queue: Any) -> None:
        """As in RQ, except that a work-horse dies with its worker, or its job would run twice."""
        assert self.pid is not None  # set when the worker was registered
        die_with_parent(self.pid)
        super().main_work_horse(job, queue)

    def _finalize_failure(self, job: Any, queue: Any, execution: Any, exc_info: Any) -> None:
        """As in RQ, except that a job handed back or superseded by another run has not failed.

        A job that lost its engine is retried first, and handed back if its host is ending too. A
        job that failed otherwise is retried after all others, when the cause may have passed.
        """
        match exc_info[1]:
            case HandedBack():
                self._return(job, queue, execution)
            case EngineLost() if hand_back.is_asked():
                self._return(job, queue, execution)
            case Superseded():
                self._leave(job, execution)
            case error:
                self._engine_lost = isinstance(error, EngineLost)
                job.enqueue_at_front_on_retry = self._engine_lost
                super()._finalize_failure(job, queue, execution, exc_info)

    def _return(self, job: Any, queue: Any, execution: Any) -> None:
        """Returns the job to the front of the queue with all its attempts left."""
        with self.connection.pipeline() as pipeline:
            self.cleanup_execution(job, pipeline=pipeline, execution=execution)
            queue._enqueue_job(job, pipeline=pipeline, at_front=True)
            count_event(pipeline, "handed_back")
            pipeline.execute()

    def _leave(self, job: Any, execution: Any) -> None:
        """Leaves the job to the later run."""
        with self.connection.pipeline() as pipeline:
            self.cleanup_execution(job, pipeline=pipeline, execution=execution)
            count_event(pipeline, "superseded")
            pipeline.execute()

    def handle_job_failure(
        self,
        job: Any,
        queue: Any,
        started_job_registry: Any = None,
        exc_string: str = "",
        execution: Any = None,
    ) -> None:
        """As in RQ, except that a job given up ends with the reason, so nobody waits for it."""
        renew_attempts(self.connection, job, engine_lost=self._engine_lost)
        stopped, retried = self._stopped_job_id == job.id, job.should_retry
        reason = self._reason or name_reason(exc_string)
        super().handle_job_failure(job, queue, started_job_registry, reason, execution)
        if stopped:
            return
        if retried:
            count_event(self.connection, "retried")
        else:
            records = find_records(self.connection, self.settings, queue.name)
            records.give_up(job.id, reason)

    def _handle_stopped_job(self, job: Any, queue: Any, execution: Any) -> None:
        """As in RQ, except that a job that somebody cancelled is no warning."""
        log.info("job_stopped", job_id=job.id)
        self.handle_job_failure(job, queue, exc_string="It was cancelled.", execution=execution)

    def handle_exception(self, job: Any, *exc_info: Any) -> None:
        """Replaces RQ's handler, which logs the job's arguments and the error's text."""
        self._reason = f"of {type(exc_info[1]).__name__}"
        log_attempt(job, exc_info[1])

    # --- Cleaning ---

    def clean_registries(self) -> None:
        """Runs the janitor instead: RQ's lock would outlive a killed worker by 15 minutes."""
        if self.janitor.sweep():
            for queue in self.queues:
                worker_registration.clean_worker_registry(queue)
            sweep_hourly(self.connection, image_ttl_s=self.settings.image_ttl_s)
        self.last_cleaned_at = now()  # type: ignore[assignment]  # RQ declares it None


def log_attempt(job: Any, error: BaseException) -> None:
    """Logs which error ended a job, and where. Omits its text, which may repeat what was sent."""
    stack = [f"{f.filename}:{f.lineno} {f.name}" for f in extract_tb(error.__traceback__)]
    log.error(
        "attempt_failed",
        job_id=job.id,
        error=type(error).__name__,
        attempts_left=job.retries_left,
        stack=stack,
    )


def name_reason(exc_string: str) -> str:
    """Why an attempt ended, if its work-horse could not report it."""
    killed = exc_string.startswith("Work-horse terminated unexpectedly")
    return "its process was killed" if killed else "it failed"


def find_records(redis: Redis, settings: WorkerSettings, queue_name: str) -> JobRecords:
    """The stored jobs of a queue.

    Jobs that count ranges for a certification have no record and need no end.
    """
    own = _find_own_records(redis, settings, queue_name)

    def enqueue_again(job_id: str) -> bool:
        if (named := witness.find_certification_id(job_id)) is not None:
            return witness.enqueue_again(redis, named, ttl_s=settings.certificate_ttl_s)
        return own.enqueue_again(job_id)

    def has_ended(job_id: str) -> bool:
        if (named := witness.find_certification_id(job_id)) is not None:
            return witness.has_ended(redis, named)
        return own.has_ended(job_id)

    def give_up(job_id: str, reason: str) -> None:
        if (named := witness.find_certification_id(job_id)) is not None:
            witness.give_up(redis, named, reason)
        else:
            own.give_up(job_id, reason)

    return JobRecords(enqueue_again=enqueue_again, has_ended=has_ended, give_up=give_up)


def _find_own_records(redis: Redis, settings: WorkerSettings, queue_name: str) -> JobRecords:
    """The stored certifications or learnings of a queue."""
    learns, ttl_s = queue_name == LEARNING_QUEUE_NAME, settings.certificate_ttl_s
    queue = learning_queue if learns else job_queue
    name_key = keyspace.learning_job if learns else keyspace.job

    def give_up(job_id: str, reason: str) -> None:
        if redis.exists(name_key(job_id)):
            queue.give_up(redis, job_id, reason, ttl_s=ttl_s)

    return JobRecords(
        enqueue_again=partial(queue.enqueue_again, redis, ttl_s=ttl_s),
        has_ended=partial((learning_store if learns else results).has_result, redis),
        give_up=give_up,
    )


def create_janitor(settings: WorkerSettings, redis: Redis, queue_name: str, name: str) -> Janitor:
    """The janitor of one queue, to be run by the worker `name`."""
    queue = create_queue(redis, queue_name)
    return Janitor(queue, name, find_records(redis, settings, queue_name))


def create_worker(
    settings: WorkerSettings, queue_name: str, *, urgent_alone: bool = False
) -> CertificationWorker:
    """A worker of one queue, or of its urgent jobs alone, with a unique name."""
    redis = create_worker_redis(settings.redis_url.get_secret_value(), ca_file=settings.redis_ca)
    worker = CertificationWorker(
        [queue_name],
        name=f"{socket.gethostname()}-{uuid.uuid4().hex}",
        connection=redis,
        job_class=CertificationRqJob,
        queue_class=UrgentQueue if urgent_alone else PriorityQueue,
        serializer="json",
        log_job_description=False,
        job_monitoring_interval=MONITORING_INTERVAL_S,
        worker_ttl=WORKER_TTL_S,
        maintenance_interval=MAINTENANCE_INTERVAL_S,
    )
    worker.settings = settings
    worker.janitor = create_janitor(settings, redis, queue_name, worker.name)
    return worker


def main() -> int:
    """Works until SIGTERM, which lets the current job finish. A second SIGTERM does not."""
    let_others_go_first()
    configure_logging()
    queue_name, *which = sys.argv[1:] or [QUEUE_NAME]
    worker = create_worker(read_settings(), queue_name, urgent_alone=which == ["urgent"])
    worker.work(logging_level="WARNING")
    return 0


if __name__ == "__main__":
    sys.exit(main())
