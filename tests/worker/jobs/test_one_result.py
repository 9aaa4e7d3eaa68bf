"""Exactly one result: no zombie writes, nothing accepted is lost, poison has its reason."""

import threading
import time
from collections.abc import Callable

import psutil
import pytest
from redis import Redis
from rq.job import Job, JobStatus
from rq_workers import done, ended_at, find_rq_job, rq_worker
from waiting import wait_until

from worker.contract import QUEUE_NAME, Failure
from worker.contract.certificate.document import FailedResult, FinishedResult
from worker.contract.request import request_sha256
from worker.jobs.certify import run_certification
from worker.jobs.janitor import SUSPECT_S, Janitor
from worker.jobs.queue import RETRIES, create_queue
from worker.jobs.retries import renew_attempts
from worker.jobs.state import get_state
from worker.rq_worker import create_janitor
from worker.settings import WorkerSettings
from worker.store import hosts, keyspace
from worker.store.counters import get_counters
from worker.store.jobs import accepted, progress, results
from worker.store.jobs.fence import Superseded, begin_run


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


def _commitment(settings: WorkerSettings) -> str:
    from worker.key_secret import commitment, load_secret

    return commitment(load_secret(settings.secret_path))
