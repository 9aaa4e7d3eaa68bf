"""Cancelling and purging: one result, no free roll, nothing of others lost."""

import json

import pytest
from rq_workers import rq_worker
from waiting import NEVER_S, wait_until

from worker.contract.certificate.document import CancelledResult, FinishedResult
from worker.contract.request import request_sha256
from worker.jobs.cancel import cancel
from worker.jobs.certify import run_certification
from worker.jobs.purge import list_streams, purge
from worker.jobs.queue import create_queue, fetch_job
from worker.jobs.state import get_state
from worker.store import keyspace
from worker.store.images import ImageExpired, get_image
from worker.store.jobs import records, results


def image_of(redis, job):
    described = job.request.input
    return get_image(redis, described.sha256, height=described.height, width=described.width)


def votes_of(redis, settings, job):
    commitment = redis.get(keyspace.KEY_COMMITMENT).decode()
    sha256 = request_sha256(job.request, commitment)
    streams = list_streams(job.request)
    return [any(redis.scan_iter(keyspace.votes(sha256, stream, "*"))) for stream in streams]


def test_a_queued_certification_that_is_cancelled_leaves_the_queue(redis, settings, submit):
    job, other = submit(), submit(seed=1)
    assert cancel(redis, job.id, ttl_s=600)
    assert create_queue(redis).job_ids == [other.id]
    assert get_state(redis, job.id) == "cancelled"
    run_certification(redis, settings, job.id)  # a worker that had taken it already
    assert isinstance(results.find_result(redis, job.id), CancelledResult)


def test_a_running_certification_ends_within_one_range(redis, settings, submit, watch):
    """And what was counted stays an attempt: the next other request is the second."""
    job = submit(n=5000)
    eager = settings.model_copy(update={"checkpoint_interval_s": 1e-9})
    ranges = []

    def cancel_at_the_third(number, _):
        ranges.append(number)
        if number == 3:
            cancel(redis, job.id, ttl_s=600)

    watched = watch(cancel_at_the_third, keyspace.progress(job.id))
    run_certification(watched, eager, job.id)
    assert ranges == [1, 2, 3]
    assert isinstance(results.find_result(redis, job.id), CancelledResult)
    assert not redis.exists(*redis.keys(keyspace.certificate("*")), "none")
    other = submit(n=300)
    run_certification(redis, settings, other.id)
    assert results.find_result(redis, other.id).certificates[0].attempts == 2


def test_of_a_cancel_and_a_result_the_first_one_stands(redis, settings, submit):
    finished, cancelled = submit(), submit(seed=1)
    run_certification(redis, settings, finished.id)
    assert not cancel(redis, finished.id, ttl_s=600)
    result = results.find_result(redis, finished.id)
    assert isinstance(result, FinishedResult)
    assert cancel(redis, cancelled.id, ttl_s=600)
    assert not cancel(redis, cancelled.id, ttl_s=600)
    results.put_result(redis, cancelled.id, result, ttl_s=600)
    assert isinstance(results.find_result(redis, cancelled.id), CancelledResult)


def test_what_never_was_cannot_be_cancelled(redis):
    assert not cancel(redis, "0" * 32, ttl_s=600)
    assert redis.dbsize() == 0


def test_a_cancelled_request_asked_again_has_the_same_certificates(redis, settings, submit):
    whole, broken = submit(), submit(seed=0)
    assert cancel(redis, broken.id, ttl_s=600)
    again = submit()
    run_certification(redis, settings, whole.id)
    run_certification(redis, settings, again.id)
    assert results.find_result(redis, again.id) == results.find_result(redis, whole.id)


def test_purging_removes_what_is_about_the_image_and_no_attempt(redis, settings, submit):
    job = submit()
    run_certification(redis, settings, job.id)
    first = results.find_result(redis, job.id)
    assert all(votes_of(redis, settings, job))
    purge(redis, job, ttl_s=600)
    assert records.find_job(redis, job.id) is None
    assert results.find_result(redis, job.id) is None
    assert not any(votes_of(redis, settings, job))
    with pytest.raises(ImageExpired):
        image_of(redis, job)
    again, other = submit(), submit(n=301)
    run_certification(redis, settings, again.id)
    run_certification(redis, settings, other.id)
    assert results.find_result(redis, again.id) == first  # not counted again, whoever asks
    assert results.find_result(redis, other.id).certificates[0].attempts == 2


def test_purging_leaves_what_another_certification_has_too(redis, settings, submit):
    one, two = submit(), submit()
    for job in (one, two):
        run_certification(redis, settings, job.id)
    kept = results.find_result(redis, two.id)
    purge(redis, one, ttl_s=600)
    assert results.find_result(redis, two.id) == kept
    assert image_of(redis, two).any()
    assert all(votes_of(redis, settings, two))
    purge(redis, two, ttl_s=600)
    assert not any(votes_of(redis, settings, two))


def test_an_expired_certification_holds_nothing(redis, settings, submit):
    one, two = submit(), submit()
    redis.delete(keyspace.job(two.id))
    purge(redis, one, ttl_s=600)
    with pytest.raises(ImageExpired):
        image_of(redis, one)


def test_whoever_counts_for_a_purged_certification_stores_nothing(redis, settings, submit):
    job = submit()
    run_certification(redis, settings, job.id)
    result = results.find_result(redis, job.id)
    purge(redis, job, ttl_s=600)
    results.put_result(redis, job.id, result, ttl_s=600)
    assert not redis.keys(f"*{job.id}:result")


def test_a_work_horse_that_waits_for_its_engine_is_stopped(redis, settings, submit, tmp_path):
    """RQ's own stop, which is not tried again, is no warning, and its worker takes the next job."""
    job = submit()
    log, nowhere = tmp_path / "log", tmp_path / "no-engine.sock"
    away = settings.model_copy(update={"engine_socket": nowhere, "engine_wait_s": NEVER_S})
    with log.open("wb") as stderr, rq_worker(away, stderr=stderr):
        # It looks for no result after this: one that is cancelled earlier ends by itself.
        wait_until(lambda: any(redis.scan_iter(keyspace.votes_holders("*"))))
        assert cancel(redis, job.id, ttl_s=600)
        wait_until(lambda: fetch_job(redis, job.id).is_stopped)
        other = submit(seed=1)
        wait_until(lambda: get_state(redis, other.id) == "running")
    assert get_state(redis, job.id) == "cancelled"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["job_id"] for line in lines if line["event"] == "job_stopped"] == [job.id]
    assert not [line for line in lines if line["level"] in ("warning", "error")]
