"""The stock forking RQ worker with three small overrides: python -m worker.rq_worker [QUEUE]."""

import socket
import sys
import uuid
from typing import Any

from rq import Worker, worker_registration
from rq.registry import clean_registries
from rq.utils import now

import worker.learning
import worker.tasks  # noqa: F401  # imported before the fork, so that a work-horse starts at once
from worker import keyspace
from worker.contract import QUEUE_NAME
from worker.logs import configure_logging
from worker.process import die_with_parent
from worker.queueing import CertificationRqJob, create_worker_redis
from worker.settings import WorkerSettings

HEARTBEAT_TTL_S = 20
MONITORING_INTERVAL_S = 5
WORKER_TTL_S = 25
MAINTENANCE_INTERVAL_S = 5
_MAINTENANCE_LOCK = f"{keyspace.PREFIX}:maintenance"
_MAINTENANCE_LOCK_S = 30


class CertificationWorker(Worker):
    """Notices dead workers in seconds instead of minutes, and leaves nothing that outlives it."""

    def get_heartbeat_ttl(self, job: Any, working_time: float = 0.0) -> int:  # noqa: ARG002
        """How long a silent job counts as alive; RQ's own answer is a minute and more."""
        return HEARTBEAT_TTL_S

    def main_work_horse(self, job: Any, queue: Any) -> None:
        """A work-horse whose parent was killed ends too, or its job would run twice."""
        die_with_parent(self.pid)
        super().main_work_horse(job, queue)

    def clean_registries(self) -> None:
        """RQ's own, whose lock would outlive a worker killed under it by 15 minutes."""
        for queue in self.queues:
            lock = f"{_MAINTENANCE_LOCK}:{queue.name}"
            if self.connection.set(lock, self.name, nx=True, ex=_MAINTENANCE_LOCK_S):
                clean_registries(queue, self._exc_handlers)
                worker_registration.clean_worker_registry(queue)
                queue.intermediate_queue.cleanup(self, queue)
                self.connection.delete(lock)
        self.last_cleaned_at = now()  # type: ignore[assignment]  # RQ declares it None


def create_worker(settings: WorkerSettings, queue_name: str) -> CertificationWorker:
    """A worker of one queue, with a name no other has."""
    return CertificationWorker(
        [queue_name],
        name=f"{socket.gethostname()}-{uuid.uuid4().hex}",
        connection=create_worker_redis(settings.redis_url.get_secret_value()),
        job_class=CertificationRqJob,
        serializer="json",
        log_job_description=False,
        job_monitoring_interval=MONITORING_INTERVAL_S,
        worker_ttl=WORKER_TTL_S,
        maintenance_interval=MAINTENANCE_INTERVAL_S,
    )


def main() -> int:
    """Works until SIGTERM, which lets the job under way finish; a second one does not."""
    die_with_parent()
    configure_logging()
    queue_name = sys.argv[1] if len(sys.argv) > 1 else QUEUE_NAME
    create_worker(WorkerSettings(), queue_name).work(logging_level="WARNING")
    return 0


if __name__ == "__main__":
    sys.exit(main())
