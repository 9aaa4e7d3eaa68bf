"""A witness as a job: asked once, kept, purged and expired with its certification, found by none
but its own noise."""

from decimal import Decimal

import pytest
from waiting import NEVER_S

from worker.contract import StagedParameters
from worker.contract.certificate.document import FinishedResult
from worker.contract.witness import FailedWitness, FinishedWitness
from worker.jobs import queue
from worker.jobs.certify import run_certification
from worker.jobs.find_witness import run_witness
from worker.jobs.load import get_load
from worker.jobs.priority import list_waiting
from worker.jobs.purge import purge
from worker.jobs.queue import CertificationRqJob
from worker.jobs.witness import (
    ask_for_witness,
    find_certification_id,
    get_witness_state,
    has_ended,
    name_rq_job,
)
from worker.rq_worker import find_records
from worker.store import keyspace
from worker.store.jobs import accepted, results
from worker.store.jobs import witness as store

QUEUE = "certify"
STAGED = {"procedure": StagedParameters(n_max=256), "sigmas": (Decimal("0.25"),)}


@pytest.fixture
def modest(settings):
    """Settings of a short search."""
    changes = {"witness_steps": 4, "witness_copies": 4, "witness_votes": 256}
    return settings.model_copy(update=changes)


@pytest.fixture
def certified(redis, modest, submit):
    """A finished certification."""
    job = submit(**STAGED)
    run_certification(redis, modest, job.id)
    assert isinstance(results.find_result(redis, job.id), FinishedResult)
    return job


def ask(redis, job):
    ask_for_witness(redis, job.id, ttl_s=600)


def test_a_witness_waits_among_the_batches_and_is_queued_once(redis, certified):
    assert get_witness_state(redis, certified.id) == "absent"
    before = get_load(redis).samples
    for _ in range(3):
        ask(redis, certified)
    named = name_rq_job(certified.id)
    waiting = list_waiting(redis)
    assert [one for ids in waiting.values() for one in ids].count(named) == 1
    assert redis.get(keyspace.priority(named)) == b"batch"
    assert get_witness_state(redis, certified.id) == "queued"
    assert find_certification_id(named) == certified.id
    assert find_certification_id(certified.id) is None
    assert get_load(redis).samples == before  # it delays no estimate of a certification


def test_a_witness_is_found_and_changes_nothing_of_its_certification(redis, modest, certified):
    before = results.find_result(redis, certified.id)
    ask(redis, certified)
    run_witness(redis, modest, certified.id)
    found = store.find_witness(redis, certified.id)
    assert isinstance(found, FinishedWitness)
    assert not found.alarm
    assert get_witness_state(redis, certified.id) == "finished"
    assert results.find_result(redis, certified.id) == before
    assert not accepted.is_open(redis, QUEUE, name_rq_job(certified.id))
    change = found.witnesses[0].undefended
    size = certified.request.input.height
    image = store.find_image(redis, certified.id, change.image_sha256, height=size, width=size)
    assert image is not None
    run_witness(redis, modest, certified.id)  # delivered twice
    assert store.find_witness(redis, certified.id) == found


def test_a_witness_lasts_as_long_as_its_certification(redis, modest, certified):
    redis.expire(keyspace.result(certified.id), 77)
    run_witness(redis, modest, certified.id)
    assert 0 < redis.ttl(keyspace.witness(certified.id)) <= 77


def test_purging_a_certification_removes_its_witness(redis, modest, certified):
    ask(redis, certified)
    run_witness(redis, modest, certified.id)
    purge(redis, certified, ttl_s=600)
    assert not redis.exists(keyspace.witness(certified.id), keyspace.witness_asked(certified.id))
    run_witness(redis, modest, certified.id)  # it was in the queue still
    assert store.find_witness(redis, certified.id) is None


def test_a_certification_that_is_purged_meanwhile_keeps_no_witness(redis, modest, certified, watch):
    """The search ends at its next question, and nothing is stored."""
    questions = 0

    def clock() -> float:
        nonlocal questions
        questions += 1
        if questions == 4:
            purge(redis, certified, ttl_s=600)
        return 0.0

    run_witness(redis, modest, certified.id, clock=clock)
    assert store.find_witness(redis, certified.id) is None
    assert questions == 4


def test_a_search_ends_with_its_time_and_says_so(redis, modest, certified):
    times = iter([0.0, 0.0, *[1.0] * 3])
    run_witness(redis, modest, certified.id, clock=lambda: next(times, 10_000.0))
    found = store.find_witness(redis, certified.id)
    assert isinstance(found, FinishedWitness)
    assert found.witnesses[0].undefended.reason == "time_ended"


def test_an_image_that_is_gone_fails_openly_and_may_be_asked_again(redis, modest, certified):
    ask(redis, certified)
    key = keyspace.image(certified.request.input.sha256)
    pixels = redis.get(key)
    redis.delete(key)
    run_witness(redis, modest, certified.id)
    failed = store.find_witness(redis, certified.id)
    assert isinstance(failed, FailedWitness)
    assert failed.failure.code == "image_expired"
    redis.set(key, pixels)
    ask(redis, certified)
    assert get_witness_state(redis, certified.id) == "queued"
    run_witness(redis, modest, certified.id)
    assert get_witness_state(redis, certified.id) == "finished"


def test_a_witness_that_rq_lost_is_enqueued_again_and_one_given_up_ends(redis, modest, certified):
    ask(redis, certified)
    named = name_rq_job(certified.id)
    CertificationRqJob.fetch(named, connection=redis, serializer="json").delete()
    found = find_records(redis, modest, QUEUE)
    assert not found.has_ended(named)
    assert found.enqueue_again(named)
    assert get_witness_state(redis, certified.id) == "queued"
    found.give_up(named, "its process was killed")
    assert get_witness_state(redis, certified.id) == "failed"
    assert found.has_ended(named)
    assert isinstance(results.find_result(redis, certified.id), FinishedResult)


def test_a_job_that_asks_for_a_witness_queues_it_when_it_has_finished(redis, modest, create_job):
    job, image = create_job(**STAGED)
    asking = job.model_copy(update={"witness": True})
    assert asking.request.identity() == job.request.identity()
    queue.accept_jobs(redis, [(asking, image)], image_ttl_s=NEVER_S, job_ttl_s=NEVER_S)
    assert get_witness_state(redis, job.id) == "absent"
    run_certification(redis, modest, job.id)
    assert get_witness_state(redis, job.id) == "queued"


def test_a_witness_that_was_wanted_is_queued_by_the_next_delivery_of_a_job_that_ended(
    redis, modest, create_job
):
    """Its first run was killed between the certificate and the question."""
    job, image = create_job(**STAGED)
    wanted = job.model_copy(update={"witness": True})
    queue.accept_jobs(redis, [(wanted, image)], image_ttl_s=NEVER_S, job_ttl_s=NEVER_S)
    run_certification(redis, modest, job.id)
    redis.delete(keyspace.witness_asked(job.id))
    accepted.settle(redis, QUEUE, name_rq_job(job.id))
    assert get_witness_state(redis, job.id) == "absent"
    run_certification(redis, modest, job.id)
    assert get_witness_state(redis, job.id) == "queued"


def test_a_witness_that_cannot_be_read_has_ended_and_stops_nobody(redis, certified):
    ask(redis, certified)
    redis.hset(keyspace.witness(certified.id), "result", b"{")
    assert has_ended(redis, certified.id)
