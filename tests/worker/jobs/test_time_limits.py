"""How long a job may take, and what is not its time."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from rq.job import Job
from rq_workers import done
from waiting import HANG_S, NEVER_S, wait_until

from worker.contract import WorkerReport
from worker.contract.certificate.document import FinishedResult
from worker.jobs import queue as job_queue
from worker.jobs.certify import JobTooSlow, run_certification
from worker.jobs.queue import ROOM_S, job_timeout_s
from worker.store import hosts, keyspace
from worker.store.jobs import results


def test_a_time_limit_is_three_times_what_the_slowest_host_needs(redis, create_job):
    job, image = create_job(n=100_000)
    assert job.request.samples_total == 200_040
    assert job_timeout_s(job, 100.0) == 3 * 2000.4 // 1 + 1 + ROOM_S
    for name, speed in (("a-1", 800.0), ("b-1", 8000.0)):
        report = WorkerReport(
            name=name,
            started_at=job.submitted_at,
            ready=True,
            key_commitment="0" * 64,
            samples_per_s={"linear": speed},
            rq_workers=8,
        )
        hosts.announce(redis, report)
    job_queue.accept_jobs(redis, [(job, image)], image_ttl_s=600, job_ttl_s=600)
    stored = Job.fetch(job.id, connection=redis, serializer="json")
    assert stored.timeout == job_timeout_s(job, 100.0 / 4)  # a quarter is left by urgent jobs


def test_waiting_for_the_engine_is_not_the_job_s_time(redis, settings, submit, tmp_path):
    """By a clock that stands still but for the wait."""
    job, now, later = submit(), [1.0], tmp_path / "later.sock"
    waiting = settings.model_copy(update={"engine_socket": later})
    run = partial(run_certification, redis, waiting, job.id, clock=lambda: now[0])
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run, allowance_s=HANG_S)
        wait_until(lambda: redis.exists(keyspace.run(job.id)))
        now[0] += NEVER_S
        later.symlink_to(settings.socket_path)
        running.result(HANG_S)
    assert isinstance(results.find_result(redis, job.id), FinishedResult)


@pytest.mark.long
def test_a_job_beyond_its_time_goes_on_from_its_votes(redis, settings, submit):
    job = submit(n=50_000)
    eager = settings.model_copy(update={"checkpoint_interval_s": 1e-9})
    with pytest.raises(JobTooSlow):
        run_certification(redis, eager, job.id, allowance_s=0.05)
    counted = done(redis, job.id)
    assert 0 < counted < job.request.samples_total
    run_certification(redis, settings, job.id)
    assert isinstance(results.find_result(redis, job.id), FinishedResult)
