"""A job whose worker is to stop goes back to its queue, with its votes and all its attempts."""

import signal
import subprocess
import sys
import time

import psutil
from rq.job import Job
from rq_workers import done, find_idle_workers, find_rq_job, rq_worker
from waiting import HANG_S, NEVER_S, running, wait_until

from worker.contract import QUEUE_NAME
from worker.contract.quantities import MAX_SAMPLES
from worker.jobs.queue import RETRIES, create_queue
from worker.jobs.state import get_state
from worker.processes import hand_back
from worker.rq_worker import create_worker
from worker.store.counters import get_counters
from worker.store.jobs import progress, results


def test_a_running_job_is_handed_back_with_its_votes_and_all_attempts(redis, settings, submit):
    job = submit(n=MAX_SAMPLES)
    with rq_worker(settings) as process:
        wait_until(lambda: done(redis, job.id) > 0)
        process.send_signal(hand_back.HAND_BACK)
        assert process.wait(HANG_S) == 0
    assert create_queue(redis).job_ids == [job.id]
    assert get_state(redis, job.id) == "queued"
    assert Job.fetch(job.id, connection=redis, serializer="json").retries_left == RETRIES
    assert sum(c.prefixes[0].counts[0] for c in progress.get_checkpoints(redis, job.id).values())
    assert create_queue(redis).started_job_registry.get_job_count(cleanup=False) == 0
    assert get_counters(redis)["event:handed_back"] == 1


def test_sigterm_to_every_process_of_a_worker_hands_its_job_back_too(redis, settings, submit):
    """Slurm and systemd send it so when they end a host: nothing has failed."""
    job = submit(n=MAX_SAMPLES)
    with rq_worker(settings) as process:
        wait_until(lambda: done(redis, job.id) > 0)
        worker = psutil.Process(process.pid)
        for one in (*worker.children(recursive=True), worker):
            one.send_signal(signal.SIGTERM)
        assert process.wait(HANG_S) == 0
    assert create_queue(redis).job_ids == [job.id]
    assert find_rq_job(redis, job.id).retries_left == RETRIES
    assert get_counters(redis)["event:handed_back"] == 1
    assert "event:retried" not in get_counters(redis)


def test_a_job_that_waits_for_an_engine_is_handed_back_at_once(redis, settings, submit, tmp_path):
    away = settings.model_copy(
        update={"engine_socket": tmp_path / "none", "engine_wait_s": NEVER_S}
    )
    job = submit()
    with rq_worker(away) as process:
        wait_until(lambda: get_state(redis, job.id) == "running")
        time.sleep(0.3)
        process.send_signal(hand_back.HAND_BACK)
        assert process.wait(HANG_S) == 0
    assert create_queue(redis).job_ids == [job.id]


def test_an_engine_that_is_not_there_takes_no_attempt(redis, settings, submit, tmp_path):
    away = settings.model_copy(update={"engine_socket": tmp_path / "none", "engine_wait_s": 0.05})
    job = submit()
    with rq_worker(away):
        wait_until(lambda: get_counters(redis).get("event:handed_back", 0) > RETRIES + 2)
    assert results.find_result(redis, job.id) is None
    assert "event:retried" not in get_counters(redis)


def test_an_idle_worker_that_is_to_stop_ends_after_its_wait_of_a_second(redis, settings):
    assert create_worker(settings, QUEUE_NAME).dequeue_timeout == 1
    for number in (signal.SIGTERM, hand_back.HAND_BACK):
        with rq_worker(settings) as process:
            wait_until(lambda: find_idle_workers(redis))  # its signal handlers are set by then
            process.send_signal(number)
            assert process.wait(HANG_S) == 0
            redis.flushdb()


WAIT = f"""
import time
from worker.processes.hand_back import HandedBack, interruptible, listen
listen()
try:
    with interruptible():
        print("waits", flush=True)
        time.sleep({NEVER_S})
except HandedBack:
    print("left")
"""


def test_a_wait_that_is_not_for_a_job_is_left_by_the_signal():
    command = [sys.executable, "-c", WAIT]
    with running(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "waits\n"
        process.send_signal(hand_back.HAND_BACK)
        assert process.communicate(timeout=HANG_S)[0] == "left\n"
