"""Exactly one result: no zombie writes, nothing accepted is lost, poison has its reason."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import psutil
import pytest
from redis import Redis
from rq import Queue
from rq.job import Job, JobStatus
from waiting import HANG_S, NEVER_S, running, wait_until

from worker.contract import QUEUE_NAME, TASK_CERTIFY, CertificationJob, Failure, WorkerReport
from worker.contract.certificate.document import FailedResult, FinishedResult
from worker.contract.quantities import MAX_SAMPLES
from worker.contract.request import request_sha256
from worker.jobs import queue as job_queue
from worker.jobs.certify import JobTooSlow, run_certification
from worker.jobs.janitor import SUSPECT_S, Janitor
from worker.jobs.queue import RETRIES, ROOM_S, create_queue, job_timeout_s
from worker.jobs.retries import renew_attempts
from worker.jobs.state import get_state
from worker.processes import hand_back
from worker.rq_worker import create_janitor, create_worker
from worker.settings import WorkerSettings
from worker.store import hosts, keyspace
from worker.store.counters import get_counters
from worker.store.jobs import accepted, progress, results
from worker.store.jobs.fence import Superseded, begin_run


@contextmanager
def rq_worker(settings: WorkerSettings, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """The stock worker with our overrides, as a supervisor starts it."""
    environment = {
        **os.environ,
        "REDIS_URL": settings.redis_url.get_secret_value(),
        "PROMPTSMOOTH_DATA_DIR": str(settings.data_dir),
        "PROMPTSMOOTH_ENGINE_SOCKET": str(settings.socket_path),
        "PROMPTSMOOTH_ENGINE_WAIT_S": str(settings.engine_wait_s),
    }
    command = [sys.executable, "-m", "worker.rq_worker", *arguments]
    process = subprocess.Popen(command, env=environment)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def ended_at(redis: Redis, job: CertificationJob) -> int:
    """When a result was stored, in milliseconds: each is kept equally long."""
    return redis.pexpiretime(keyspace.result(job.id))


def done(redis: Redis, job_id: str) -> int:
    found = progress.find_progress(redis, job_id)
    return 0 if found is None else found.samples_done


@pytest.fixture
def janitor(redis: Redis, settings: WorkerSettings) -> Janitor:
    return create_janitor(settings, redis, QUEUE_NAME, "janitor")


@pytest.fixture
def sweep_twice(janitor: Janitor, redis: Redis) -> Callable[[], None]:
    """Two looks, between which suspects have been suspects for long enough."""

    def sweep() -> None:
        for key in redis.scan_iter(keyspace.accepted("*")):
            for one, _ in redis.zrange(key, 0, -1, withscores=True):
                redis.zincrby(key, -SUSPECT_S, one)
        janitor.find_lost()
        for key in redis.scan_iter(keyspace.suspects("*")):
            for one, _ in redis.zrange(key, 0, -1, withscores=True):
                redis.zincrby(key, -SUSPECT_S, one)
        janitor.find_lost()

    return sweep


# --- Compare-and-set on the run ---


def test_a_zombie_writes_no_checkpoint_and_no_result(redis, settings, submit, watch):
    """Another run begins while this one counts; what this one counted is not stored."""
    job = submit(n=3000)
    eager = settings.model_copy(update={"checkpoint_interval_s": 1e-9})
    kept = {}

    def overtake(number, _):
        if number == 2:
            kept.update(progress.get_checkpoints(redis, job.id))
            begin_run(redis, job.id, ttl_s=60)

    watched = watch(overtake, keyspace.checkpoint(job.id))
    with pytest.raises(Superseded):
        run_certification(watched, eager, job.id)
    assert kept
    assert progress.get_checkpoints(redis, job.id) == kept
    assert results.find_result(redis, job.id) is None
    zombie = begin_run(redis, job.id, ttl_s=60)
    begin_run(redis, job.id, ttl_s=60)
    failure = FailedResult(failure=Failure(code="x", detail="y"))
    with pytest.raises(Superseded):
        results.put_result(redis, job.id, failure, ttl_s=60, fence=zombie)
    run_certification(redis, settings, job.id)
    assert isinstance(results.find_result(redis, job.id), FinishedResult)


def test_a_job_that_has_ended_admits_no_run_that_began_before(redis, settings, submit):
    job = submit()
    late = begin_run(redis, job.id, ttl_s=60)
    run_certification(redis, settings, job.id)
    with pytest.raises(Superseded):
        late.write(redis, lambda pipeline: progress.put_progress(pipeline, job.id, 1, 2))
    assert progress.find_progress(redis, job.id) is None


# --- Nothing accepted is lost ---


@pytest.mark.parametrize("loss", ["hash", "place", "everything"])
def test_a_job_that_rq_lost_is_queued_and_runs(redis, settings, submit, sweep_twice, loss):
    job = submit()
    if loss in ("hash", "everything"):
        redis.delete(Job.key_for(job.id))
    if loss in ("place", "everything"):
        redis.lrem(create_queue(redis).key, 0, job.id)
    assert get_state(redis, job.id) == "queued"
    sweep_twice()
    if loss == "hash":  # RQ drops an id without a record when it meets it
        redis.lrem(create_queue(redis).key, 0, job.id)
        sweep_twice()
    assert create_queue(redis).job_ids == [job.id]
    assert Job.fetch(job.id, connection=redis, serializer="json").retries_left == RETRIES


def test_a_job_whose_worker_died_before_starting_it_is_put_back_once(redis, submit, sweep_twice):
    """BLMOVE has taken it, and nobody has begun: RQ alone waits a minute and takes an attempt."""
    job, other = submit(), submit(seed=1)
    queue = create_queue(redis)
    assert redis.lmove(queue.key, queue.intermediate_queue_key).decode() == job.id
    sweep_twice()
    assert queue.job_ids == [job.id, other.id]
    assert redis.lrange(queue.intermediate_queue_key, 0, -1) == []
    sweep_twice()
    assert queue.job_ids == [job.id, other.id]


def test_a_job_that_is_somewhere_is_left_alone(redis, submit, sweep_twice):
    waiting = [submit(seed=seed) for seed in range(3)]
    started = submit(seed=4)
    queue = create_queue(redis)
    redis.lrem(queue.key, 0, started.id)
    redis.zadd(queue.started_job_registry.key, {f"{started.id}:execution": time.time() + 60})
    sweep_twice()
    assert queue.job_ids == [job.id for job in waiting]
    assert "event:recovered" not in get_counters(redis)


def test_a_job_stops_waiting_when_it_has_its_result(redis, settings, submit):
    job = submit()
    assert accepted.is_open(redis, QUEUE_NAME, job.id)
    run_certification(redis, settings, job.id)
    assert not accepted.is_open(redis, QUEUE_NAME, job.id)
    assert get_counters(redis)["ended:finished"] == 1


def test_one_janitor_at_a_time_and_its_lock_is_nobody_else_s(redis, settings, janitor):
    other = create_janitor(settings, redis, QUEUE_NAME, "other")
    redis.set(f"{keyspace.PREFIX}:maintenance:{QUEUE_NAME}", "other", ex=30)
    assert not janitor.sweep()
    redis.delete(f"{keyspace.PREFIX}:maintenance:{QUEUE_NAME}")
    assert other.sweep()
    assert janitor.sweep()


def test_a_hundred_abandoned_jobs_are_enqueued_once_each(redis, settings, submit):
    """Several janitors at a time: RQ's own clean-up enqueued 188 of 200 twice."""
    jobs = [submit(seed=seed) for seed in range(100)]
    queue = create_queue(redis)
    for job in jobs:
        Job.fetch(job.id, connection=redis, serializer="json").set_status(JobStatus.STARTED)
        redis.zadd(queue.started_job_registry.key, {f"{job.id}:gone": time.time() - 1})
    redis.delete(queue.key)
    janitors = [create_janitor(settings, redis, QUEUE_NAME, str(i)) for i in range(8)]
    threads = [threading.Thread(target=one.sweep) for one in janitors]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(queue.job_ids) == sorted(job.id for job in jobs)


# --- Poison ---


def _votes_holders(job, settings) -> str:
    """Where those are listed who keep the votes of its canonical request: a set."""
    return keyspace.votes_holders(request_sha256(job.request, _commitment(settings)))


def test_a_job_that_fails_each_time_ends_with_its_reason_and_its_neighbours_do_not(
    redis, settings, submit
):
    """The list of who keeps its votes is of another type; those of its neighbours are lists."""
    good = [submit(seed=seed) for seed in range(2)]
    poison = submit(seed=9)
    redis.set(keyspace.image(poison.request.input.sha256), b"x", ex=60)
    broken = submit(seed=10)
    redis.delete(keyspace.KEY_COMMITMENT)  # every job fails ...
    with rq_worker(settings):
        wait_until(lambda: get_counters(redis).get("event:retried", 0) >= 1)
        hosts.publish_keys(redis, _commitment(settings), "")  # ... until it is there again
        redis.set(_votes_holders(broken, settings), b"{}")  # but this one for ever
        jobs = (*good, poison, broken)
        wait_until(lambda: all(results.find_result(redis, job.id) for job in jobs))
        wait_until(lambda: get_counters(redis).get("event:parked") == 1)
        wait_until(lambda: find_rq_job(redis, broken.id).results())
    assert [results.find_result(redis, job.id).status for job in good] == ["finished"] * 2
    assert results.find_result(redis, poison.id).failure.code == "image_expired"
    ended = results.find_result(redis, broken.id).failure
    assert (ended.code, "ResponseError" in ended.detail) == ("certification_lost", True)
    (kept,) = find_rq_job(redis, broken.id).results()
    assert kept.exc_string == "of ResponseError"  # RQ keeps no text that repeats the record


@pytest.mark.long
def test_a_job_that_comes_further_each_time_is_never_given_up(redis, settings, submit):
    """Its work-horse is killed more often than there are retries."""
    job = submit(n=400_000)
    with rq_worker(settings) as process:
        seen = 0
        for _ in range(RETRIES + 3):
            wait_until(lambda seen=seen: done(redis, job.id) > seen)
            (horse,) = psutil.Process(process.pid).children()
            horse.kill()
            horse.wait()
            seen = done(redis, job.id)
        wait_until(lambda: results.find_result(redis, job.id))
    assert results.find_result(redis, job.id).status == "finished"
    assert get_counters(redis)["event:retried"] == RETRIES + 3


@pytest.mark.long
def test_a_job_that_was_cut_off_goes_on_before_those_that_wait(redis, settings, submit):
    job, *waiting = (submit(n=n, seed=n) for n in (200_000, 3000, 3001))
    with rq_worker(settings) as process:
        wait_until(lambda: done(redis, job.id) > 0)
        (horse,) = psutil.Process(process.pid).children()
        horse.kill()
        wait_until(lambda: all(results.find_result(redis, one.id) for one in (job, *waiting)))
    assert ended_at(redis, job) <= min(ended_at(redis, other) for other in waiting)


@pytest.mark.long
def test_a_job_that_raised_is_tried_again_after_those_that_wait(redis, settings, submit):
    """What ails it may have passed by then."""
    broken, other = submit(seed=1), submit(seed=2, n=100_000)
    redis.set(_votes_holders(broken, settings), b"{}")
    with rq_worker(settings):
        wait_until(lambda: done(redis, other.id) > 0)
        redis.delete(_votes_holders(broken, settings))
        wait_until(lambda: results.find_result(redis, broken.id))
    assert results.find_result(redis, broken.id).status == "finished"
    assert get_counters(redis)["event:retried"] == 1
    assert ended_at(redis, other) <= ended_at(redis, broken)


def test_a_job_that_comes_no_further_has_its_attempts_and_no_more(redis, submit):
    job = submit()
    rq_job = find_rq_job(redis, job.id)
    progress.put_progress(redis, job.id, 500, 1000)
    left = []
    for _ in range(3):
        rq_job.retries_left -= 1
        renew_attempts(redis, rq_job, engine_lost=False)
        left.append(rq_job.retries_left)
    assert left == [RETRIES, RETRIES - 1, RETRIES - 2]


def test_a_job_under_which_engines_keep_ending_is_given_up_however_far_it_comes(redis, submit):
    """Two may be chance; from the third on it had the engine alone."""
    job = submit()
    rq_job, left = find_rq_job(redis, job.id), []
    for lost in range(1, 6):
        progress.put_progress(redis, job.id, 100 * lost, 1000)
        progress.note_lost_engine(redis, job.id)
        renew_attempts(redis, rq_job, engine_lost=True)
        left.append(rq_job.retries_left)
        rq_job.retries_left -= 1
    assert left == [RETRIES, RETRIES, RETRIES - 1, RETRIES - 2, RETRIES - 3]
    progress.put_progress(redis, job.id, 900, 1000)
    renew_attempts(redis, rq_job, engine_lost=False)
    assert rq_job.retries_left == RETRIES  # its own process was killed: no engine suffered


def find_idle_workers(redis: Redis) -> list[bytes]:
    """Keys of the RQ workers that wait for a job."""
    workers = redis.smembers("rq:workers")
    return [worker for worker in workers if redis.hget(worker, "state") == b"idle"]


def find_rq_job(redis: Redis, job_id: str) -> Job:
    return Job.fetch(job_id, connection=redis, serializer="json")


def _commitment(settings: WorkerSettings) -> str:
    from worker.key_secret import commitment, load_secret

    return commitment(load_secret(settings.secret_path))


# --- Handing back ---


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


# --- Time ---


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


# --- RQ's traps ---


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
