"""The stock forking RQ worker with a few overrides: python -m worker.rq_worker [QUEUE].

SIGTERM lets the job under way finish and takes no other; SIGUSR1 hands it back to the queue.
"""

import logging
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
from redis.exceptions import OutOfMemoryError
from rq import Worker, worker_registration
from rq.utils import now

import worker.tasks  # noqa: F401  # imported before the fork, so that a work-horse starts at once
from models.files.parent_death import die_with_parent
from worker.contract import LEARNING_QUEUE_NAME, QUEUE_NAME
from worker.engine.client import EngineLost
from worker.jobs import queue as job_queue
from worker.jobs.janitor import Janitor
from worker.jobs.queue import CertificationRqJob, create_queue
from worker.jobs.retries import renew_attempts
from worker.learning import queue as learning_queue
from worker.learning import store as learning_store
from worker.processes import hand_back
from worker.processes.hand_back import HAND_BACK, HandedBack
from worker.processes.logs import configure_logging
from worker.processes.scheduling import let_others_go_first
from worker.settings import WorkerSettings
from worker.store import keyspace
from worker.store.connection import create_worker_redis, when_there_is_room
from worker.store.counters import count_event
from worker.store.jobs import results
from worker.store.jobs.fence import Superseded
from worker.store.retention import sweep_hourly

log = logging.getLogger(__name__)

HEARTBEAT_TTL_S = 20
MONITORING_INTERVAL_S = 5
WORKER_TTL_S = 25
MAINTENANCE_INTERVAL_S = 5
_POLL_S = 1  # how long a worker without a job does not see that it is to stop


class CertificationWorker(Worker):
    """Notices dead workers in seconds instead of minutes, and leaves nothing that outlives it."""

    janitor: Janitor
    _hand_back = False
    _reason = ""
    _engine_lost = False

    def get_heartbeat_ttl(self, job: Any, working_time: float = 0.0) -> int:  # noqa: ARG002
        """How long a silent job counts as alive; RQ's own answer is a minute and more."""
        return HEARTBEAT_TTL_S

    # --- Taking jobs ---

    @property
    def dequeue_timeout(self) -> int:
        """Seconds of one wait for a job."""
        return _POLL_S

    def dequeue_job_and_maintain_ttl(
        self, timeout: int | None, max_idle_time: int | None = None
    ) -> Any:
        """RQ's own, which a stop ends between two waits and never within one.

        RQ leaves a wait by an exception from the signal handler; a job that Redis moved at that
        moment has been taken and is not started.
        """
        look = super().dequeue_job_and_maintain_ttl
        if timeout is None:  # burst: an empty queue ends the work
            return look(timeout, max_idle_time)
        while not self._stop_requested:
            found = when_there_is_room(partial(look, timeout, max_idle_time or _POLL_S))
            if found is not None or max_idle_time is not None:
                return found
        return None

    def set_state(self, state: str, pipeline: Any = None) -> None:
        """RQ's own, which says the same thing once."""
        if state != self.get_state():
            super().set_state(state, pipeline)

    def heartbeat(self, timeout: int | None = None, pipeline: Any = None) -> None:
        """RQ's own; between waits for a job no more often than the others."""
        if timeout or pipeline is not None or self._is_silent:
            with suppress(OutOfMemoryError):
                super().heartbeat(timeout, pipeline)

    def maintain_heartbeats(self, job: Any, execution: Any) -> None:
        """RQ's own; a full Redis does not end the worker."""
        with suppress(OutOfMemoryError):
            super().maintain_heartbeats(job, execution)

    def prepare_execution(self, job: Any) -> Any:
        """RQ's own; where Redis is full, the job waits for room."""
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
        """Stops after the job under way, or the wait for one."""
        self._stop_requested = True

    def _request_hand_back(self, *_: object) -> None:
        self._hand_back = self._stop_requested = True
        if self.horse_pid:
            self.kill_horse(HAND_BACK)

    def fork_work_horse(self, job: Any, queue: Any) -> None:
        """RQ's own, during which a signal waits: it reaches a work-horse that heeds it."""
        signal.pthread_sigmask(signal.SIG_BLOCK, {HAND_BACK})
        super().fork_work_horse(job, queue)  # only the parent returns
        if self._hand_back:
            os.kill(self.horse_pid, HAND_BACK)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {HAND_BACK})

    def setup_work_horse_signals(self) -> None:
        super().setup_work_horse_signals()  # type: ignore[no-untyped-call]
        hand_back.listen()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {HAND_BACK})

    # --- Running them ---

    def main_work_horse(self, job: Any, queue: Any) -> None:
        """A work-horse whose parent was killed ends too, or its job would run twice."""
        assert self.pid is not None  # set when it was registered
        die_with_parent(self.pid)
        super().main_work_horse(job, queue)

    def _finalize_failure(self, job: Any, queue: Any, execution: Any, exc_info: Any) -> None:
        """A job that was handed back or overtaken by another run has not failed.

        One that was cut off goes on at once. One that raised is tried again after all others:
        what ails it may have passed by then.
        """
        match exc_info[1]:
            case HandedBack():
                self._return(job, queue, execution)
            case Superseded():
                self._leave(job, execution)
            case error:
                self._engine_lost = isinstance(error, EngineLost)
                job.enqueue_at_front_on_retry = self._engine_lost
                super()._finalize_failure(job, queue, execution, exc_info)

    def _return(self, job: Any, queue: Any, execution: Any) -> None:
        """To the front of the queue, with all its attempts left."""
        with self.connection.pipeline() as pipeline:
            self.cleanup_execution(job, pipeline=pipeline, execution=execution)
            queue._enqueue_job(job, pipeline=pipeline, at_front=True)
            count_event(pipeline, "handed_back")
            pipeline.execute()

    def _leave(self, job: Any, execution: Any) -> None:
        """To the run that came after."""
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
        """RQ's own; a job that it gives up ends with the reason, so that nobody waits for it."""
        renew_attempts(self.connection, job, engine_lost=self._engine_lost)
        stopped, retried = self._stopped_job_id == job.id, job.should_retry
        reason = self._reason or name_reason(exc_string)
        super().handle_job_failure(job, queue, started_job_registry, reason, execution)
        if stopped:
            return
        if retried:
            count_event(self.connection, "retried")
        else:
            give_up(self.connection, queue.name, job.id, reason)

    def handle_exception(self, job: Any, *exc_info: Any) -> None:
        """Instead of RQ's, which logs arguments and the error's text."""
        self._reason = f"of {type(exc_info[1]).__name__}"
        log_attempt(job, exc_info[1])

    # --- Cleaning ---

    def clean_registries(self) -> None:
        """The janitor's, whose lock does not outlive a worker killed under it by 15 minutes."""
        if self.janitor.sweep():
            for queue in self.queues:
                worker_registration.clean_worker_registry(queue)
            sweep_hourly(self.connection, image_ttl_s=WorkerSettings().image_ttl_s)
        self.last_cleaned_at = now()  # type: ignore[assignment]  # RQ declares it None


def log_attempt(job: Any, error: BaseException) -> None:
    """Which job, which error, where. Its text is left out: it can repeat what was sent."""
    stack = [f"{f.filename}:{f.lineno} {f.name}" for f in extract_tb(error.__traceback__)]
    fields = {
        "job_id": job.id,
        "error": type(error).__name__,
        "attempts_left": job.retries_left,
        "stack": stack,
    }
    log.error("attempt_failed", extra={"fields": fields})


def name_reason(exc_string: str) -> str:
    """Why an attempt ended, where its work-horse could not say it."""
    killed = exc_string.startswith("Work-horse terminated unexpectedly")
    return "its process was killed" if killed else "it failed"


def give_up(redis: Redis, queue_name: str, job_id: str, reason: str) -> None:
    """Ends a job that RQ has given up. Ranges that were counted for another need no end."""
    ttl_s = WorkerSettings().certificate_ttl_s
    if queue_name == LEARNING_QUEUE_NAME:
        if redis.exists(keyspace.learning_job(job_id)):
            learning_queue.give_up(redis, job_id, reason, ttl_s=ttl_s)
    elif redis.exists(keyspace.job(job_id)):
        job_queue.give_up(redis, job_id, reason, ttl_s=ttl_s)


def create_janitor(settings: WorkerSettings, redis: Redis, queue_name: str, name: str) -> Janitor:
    """The janitor of one queue, as one worker may be it."""
    learning = queue_name == LEARNING_QUEUE_NAME
    enqueue_again = learning_queue.enqueue_again if learning else job_queue.enqueue_again
    has_ended = learning_store.has_result if learning else results.has_result
    return Janitor(
        create_queue(redis, queue_name),
        name,
        enqueue_again=partial(enqueue_again, redis, ttl_s=settings.certificate_ttl_s),
        has_ended=partial(has_ended, redis),
        give_up=partial(give_up, redis, queue_name),
        renew_attempts=partial(renew_attempts, redis, engine_lost=False),
    )


def create_worker(settings: WorkerSettings, queue_name: str) -> CertificationWorker:
    """A worker of one queue, with a name no other has."""
    redis = create_worker_redis(settings.redis_url.get_secret_value(), ca_file=settings.redis_ca)
    worker = CertificationWorker(
        [queue_name],
        name=f"{socket.gethostname()}-{uuid.uuid4().hex}",
        connection=redis,
        job_class=CertificationRqJob,
        serializer="json",
        log_job_description=False,
        job_monitoring_interval=MONITORING_INTERVAL_S,
        worker_ttl=WORKER_TTL_S,
        maintenance_interval=MAINTENANCE_INTERVAL_S,
    )
    worker.janitor = create_janitor(settings, redis, queue_name, worker.name)
    return worker


def main() -> int:
    """Works until SIGTERM, which lets the job under way finish; a second one does not."""
    let_others_go_first()
    configure_logging()
    queue_name = sys.argv[1] if len(sys.argv) > 1 else QUEUE_NAME
    create_worker(WorkerSettings(), queue_name).work(logging_level="WARNING")
    return 0


if __name__ == "__main__":
    sys.exit(main())
