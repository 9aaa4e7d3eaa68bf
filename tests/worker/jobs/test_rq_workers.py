"""RQ's traps: where its defaults would lose a job, run it twice or run another's."""

import subprocess
import sys

import psutil
from rq import Queue
from rq.job import Job, JobStatus
from rq_workers import done, rq_worker
from waiting import HANG_S, wait_until

from worker.contract import QUEUE_NAME, TASK_CERTIFY
from worker.contract.quantities import MAX_SAMPLES
from worker.jobs.queue import ROOM_S
from worker.rq_worker import create_worker
from worker.store.jobs import results


def test_a_worker_takes_from_one_queue_and_by_moving(redis, settings):
    """With several RQ pops, and a worker killed then loses the job for ever."""
    worker = create_worker(settings, QUEUE_NAME)
    assert worker.queue_names() == [QUEUE_NAME]
    assert worker.get_heartbeat_ttl(None) <= 20
    assert (worker.job_monitoring_interval, worker.maintenance_interval) == (5, 5)


def test_no_two_workers_have_one_name(redis, settings):
    """A name that a killed worker still has in Redis would be refused."""
    first = create_worker(settings, QUEUE_NAME)
    first.register_birth()
    second = create_worker(settings, QUEUE_NAME)
    second.register_birth()  # ValueError when it is taken
    assert first.name != second.name


def test_every_limit_of_a_job_is_said(redis, submit):
    stored = redis.hgetall(Job.key_for(submit().id))
    assert int(stored[b"timeout"]) >= ROOM_S
    assert int(stored[b"result_ttl"]) == 60
    assert int(stored[b"failure_ttl"]) == 24 * 3600
    assert (stored[b"retries_left"], b"retry_intervals" in stored) == (b"3", True)


def test_a_horse_ends_with_its_worker(redis, settings, submit):
    """SIGKILL of the parent: else the job would run on and again."""
    job = submit(n=MAX_SAMPLES)
    with rq_worker(settings) as process:
        wait_until(lambda: done(redis, job.id) > 0)
        (horse,) = psutil.Process(process.pid).children()
        process.kill()
        process.wait()
        psutil.wait_procs([horse], timeout=HANG_S)
        assert not horse.is_running()
    assert results.find_result(redis, job.id) is None  # it did not end by itself


def test_rq_speaks_json_on_our_handler_alone(redis, settings):
    code = (
        "import logging; from worker.processes.logs import configure_logging; configure_logging();"
        "import rq.worker; logging.getLogger('rq.worker').warning('x')"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stderr.count("\n") == 1
    assert '"event": "x"' in run.stderr


def test_a_task_by_name_cannot_be_enqueued_from_elsewhere(redis, settings):
    """A forged entry of the queue fails, and the worker goes on."""
    queue = Queue(QUEUE_NAME, connection=redis, serializer="json")
    forged = queue.enqueue_call("os.system", args=("touch /tmp/forged",))
    with rq_worker(settings):
        wait_until(lambda: forged.get_status(refresh=True) == JobStatus.FAILED)
    assert TASK_CERTIFY != "os.system"
