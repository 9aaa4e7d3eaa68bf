"""Records that Redis gives back broken: each is said, and harms its own certification alone."""

import json

import pytest
from logged import list_events
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from worker.contract import QUEUE_NAME
from worker.contract.certificate.document import FailedResult, FinishedResult
from worker.jobs import queue
from worker.jobs.certify import run_certification
from worker.rq_worker import create_janitor
from worker.store import hosts, keyspace
from worker.store.jobs import accepted, records, results
from worker.store.jobs.damaged import RecordDamaged

BROKEN = b'{"roll": "cut of'


@pytest.fixture
def cut_off(redis: Redis, settings, submit, watch):
    """A job that was cut off with checkpoints."""

    def cut_off() -> str:
        job = submit()

        def break_off(number, _):
            if number == 3:
                raise RedisConnectionError("away")

        eager = settings.model_copy(update={"checkpoint_interval_s": 1e-9})
        watched = watch(break_off, keyspace.checkpoint(job.id))
        with pytest.raises(RedisConnectionError):
            run_certification(watched, eager, job.id)
        assert redis.hlen(keyspace.checkpoint(job.id)) > 0
        return job.id

    return cut_off


def test_a_damaged_checkpoint_is_counted_again_to_the_same_certificate(
    redis, settings, submit, cut_off, caplog
):
    whole = submit()
    run_certification(redis, settings, whole.id)
    for key in redis.scan_iter(keyspace.certificate("*")):
        redis.delete(key)
    job_id = cut_off()
    for name in redis.hkeys(keyspace.checkpoint(job_id)):
        redis.hset(keyspace.checkpoint(job_id), name, BROKEN)
    run_certification(redis, settings, job_id)
    found, expected = (results.find_result(redis, one) for one in (job_id, whole.id))
    assert isinstance(found, FinishedResult)
    assert found.certificates == expected.certificates
    said = list_events(caplog, "record_damaged")
    assert said
    assert said[0]["record"] == "checkpoint"


def test_a_damaged_job_ends_at_once_with_its_reason_and_its_neighbour_runs(redis, settings, submit):
    broken, sound = submit(), submit(seed=1)
    redis.set(keyspace.job(broken.id), BROKEN)
    run_certification(redis, settings, broken.id)
    run_certification(redis, settings, sound.id)
    result = results.find_result(redis, broken.id)
    assert isinstance(result, FailedResult)
    assert "its record cannot be read" in result.failure.detail
    assert records.find_jobs(redis, [broken.id, sound.id]) == [None, sound]
    assert isinstance(results.find_result(redis, sound.id), FinishedResult)


def test_a_damaged_result_ends_no_janitor_and_is_not_counted_again(redis, settings, submit):
    broken, lost = submit(), submit(seed=1)
    for job in (broken, lost):
        redis.delete(f"rq:job:{job.id}", f"rq:queue:{QUEUE_NAME}")
        redis.zadd(keyspace.accepted(QUEUE_NAME), {job.id: 1})
        redis.zadd(keyspace.suspects(QUEUE_NAME), {job.id: 1})
    redis.set(keyspace.result(broken.id), BROKEN)
    janitor = create_janitor(settings, redis, QUEUE_NAME, "janitor")
    janitor.find_lost()
    assert not accepted.is_open(redis, QUEUE_NAME, broken.id)
    assert redis.lrange(f"rq:queue:{QUEUE_NAME}", 0, -1) == [lost.id.encode()]
    with pytest.raises(RecordDamaged):
        results.find_result(redis, broken.id)


def test_a_host_of_another_release_is_left_out_and_said(redis, caplog):
    """A worker host that was swapped first says more than this release knows."""
    redis.sadd(keyspace.WORKERS, "next")
    redis.set(keyspace.worker("next"), json.dumps({"name": "next", "of_the_next_release": 1}))
    assert hosts.list_workers(redis) == ()
    assert "host_unreadable" in caplog.text


@pytest.mark.parametrize("how", ["cut off", "another type"])
def test_a_kept_certificate_that_is_damaged_is_counted_again(
    redis: Redis, settings, create_job, how: str, caplog
):
    """Under the same noise, to the same certificate."""
    (first, image), (again, _) = create_job(), create_job()
    for job in (first, again):
        queue.accept_jobs(redis, [(job, image)], image_ttl_s=600, job_ttl_s=600)
    run_certification(redis, settings, first.id)
    counted = results.find_result(redis, first.id)
    (key,) = redis.scan_iter(keyspace.certificate("*"))
    kept = redis.get(key).decode()
    redis.delete(key)
    match how:
        case "another type":
            redis.hset(key, "a", "b")
        case "cut off":
            redis.set(key, kept[:100])
    run_certification(redis, settings, again.id)
    assert results.find_result(redis, again.id).certificates == counted.certificates
    assert redis.get(key).decode() == kept
    assert list_events(caplog, "record_damaged")
