"""RQ workers as a supervisor starts them, and how far their jobs are."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from redis import Redis
from rq.job import Job

from worker.contract import CertificationJob
from worker.settings import WorkerSettings
from worker.store import keyspace
from worker.store.jobs import progress


@contextmanager
def rq_worker(
    settings: WorkerSettings, *arguments: str, stderr: IO[bytes] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """The stock worker with our overrides, as a supervisor starts it."""
    environment = {
        **os.environ,
        "REDIS_URL": settings.redis_url.get_secret_value(),
        "PROMPTSMOOTH_DATA_DIR": str(settings.data_dir),
        "PROMPTSMOOTH_ENGINE_SOCKET": str(settings.socket_path),
        "PROMPTSMOOTH_ENGINE_WAIT_S": str(settings.engine_wait_s),
    }
    command = [sys.executable, "-m", "worker.rq_worker", *arguments]
    process = subprocess.Popen(command, env=environment, stderr=stderr)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def done(redis: Redis, job_id: str) -> int:
    found = progress.find_progress(redis, job_id)
    return 0 if found is None else found.samples_done


def ended_at(redis: Redis, job: CertificationJob) -> int:
    """When a result was stored, in milliseconds: each is kept equally long."""
    return redis.pexpiretime(keyspace.result(job.id))


def find_idle_workers(redis: Redis) -> list[bytes]:
    """Keys of the RQ workers that wait for a job."""
    workers = redis.smembers("rq:workers")
    return [worker for worker in workers if redis.hget(worker, "state") == b"idle"]


def find_rq_job(redis: Redis, job_id: str) -> Job:
    return Job.fetch(job_id, connection=redis, serializer="json")
