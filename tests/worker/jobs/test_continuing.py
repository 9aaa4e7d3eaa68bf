"""A continuation in the queue: durable, on the samples before it, and no new attempt."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from uuid import uuid4

import pytest
from redis import Redis
from waiting import NEVER_S

from worker.certification.merkle import audit_path, path_leads_to
from worker.contract import CertificationJob, StagedParameters
from worker.contract.certificate.document import FinishedResult
from worker.contract.request import request_sha256
from worker.contract.votes import VOTE_BYTES
from worker.jobs import queue
from worker.jobs.certify import JobTooSlow, run_certification
from worker.jobs.purge import purge
from worker.store import images, keyspace
from worker.store.jobs import certificates, progress, results
from worker.store.votes import VotesOf, get_votes

PROCEDURE = StagedParameters(n_max=200, n_cap=3200, tolerance=Decimal(0))
STREAM = "estimation:0.25:0"
SENTINEL = b"\x77\x77"
OTHER = "0" * 64


@pytest.fixture
def first(redis: Redis, settings, submit) -> CertificationJob:
    """The first part, certified."""
    job = submit(procedure=PROCEDURE, sigmas=(Decimal("0.25"), Decimal("1")))
    run_certification(redis, settings, job.id)
    return job


@pytest.fixture
def go_on(redis: Redis):
    """Accepts the continuation of a job, as the app does."""

    def accept(job: CertificationJob) -> CertificationJob:
        following = CertificationJob(
            id=uuid4().hex,
            request=job.request.find_continued(),
            submitted_at=datetime.now(UTC),
            continues=job.id,
        )
        image = images.get_input(redis, job.request.input)
        queue.accept_jobs(redis, [(following, image)], image_ttl_s=NEVER_S, job_ttl_s=NEVER_S)
        return following

    return accept


def find(redis: Redis, job: CertificationJob) -> FinishedResult:
    result = results.find_result(redis, job.id)
    assert isinstance(result, FinishedResult)
    return result


def forget(redis: Redis, *patterns: str) -> None:
    for pattern in patterns:
        for key in redis.scan_iter(pattern):
            redis.delete(key)


@pytest.fixture
def undisturbed(redis: Redis, settings, first, go_on) -> FinishedResult:
    """What the first continuation comes to; only the first part is stored afterwards."""
    job = go_on(first)
    run_certification(redis, settings, job.id)
    result = find(redis, job)
    purge(redis, job, ttl_s=60)
    redis.delete(certificates.name_certificate(request_sha256_of(result, job), 1))
    return result


def request_sha256_of(result: FinishedResult, job: CertificationJob) -> str:
    return request_sha256(job.request, result.provenance.key_commitment)


def test_a_continuation_counts_the_further_samples_alone(redis: Redis, settings, first, go_on):
    before = find(redis, first)
    (votes,) = redis.scan_iter(f"*:{STREAM}")
    redis.setrange(votes, 0, SENTINEL)
    job = go_on(first)
    run_certification(redis, settings, job.id)
    after = find(redis, job)
    assert redis.getrange(votes, 0, 1) == SENTINEL  # not counted again
    assert redis.strlen(votes) == VOTE_BYTES * after.certificates[0].n_used
    for old, new in zip(before.certificates, after.certificates, strict=True):
        assert new.looks[: len(old.looks)] == old.looks
        assert (old.continuations, new.continuations) == (None, 1)


def test_all_parts_are_one_attempt_and_spend_one_alpha(redis: Redis, settings, first, go_on):
    job = first
    for _ in range(3):
        job = go_on(job)
        run_certification(redis, settings, job.id)
        for entry in find(redis, job).certificates:
            assert entry.attempts == 1
            assert entry.alpha_of_attempts == first.request.alpha_spent


def test_the_earlier_certificate_stays_as_it_is_and_its_votes_are_proved(
    redis: Redis, settings, first, go_on
):
    stored = redis.get(keyspace.result(first.id))
    run_certification(redis, settings, go_on(first).id)
    assert redis.get(keyspace.result(first.id)) == stored
    result = find(redis, first)
    entry = result.certificates[0]
    of = VotesOf(request_sha256_of(result, first), result.provenance)
    n = entry.looks[-1].n
    votes = get_votes(redis, of, STREAM, n)
    root = entry.votes_root["estimation"]
    assert path_leads_to(root, n=n, index=7, vote=votes[7], path=audit_path(votes, 7))


def test_a_continuation_that_is_cut_off_again_and_again_ends_in_the_same_certificates(
    redis: Redis, settings, first, go_on, undisturbed
):
    eager = settings.model_copy(update={"checkpoint_interval_s": 1e-9})
    job = go_on(first)
    cut_off = 0
    for _ in range(20):
        try:
            run_certification(redis, eager, job.id, allowance_s=0)
            break
        except JobTooSlow:
            cut_off += 1
            assert progress.get_checkpoints(redis, job.id)
    assert cut_off > 1
    assert find(redis, job) == undisturbed


@pytest.mark.parametrize("lost", ["prefix", "prefix, votes and first certificate"])
def test_a_prefix_that_was_lost_costs_samples_and_changes_nothing(
    redis: Redis, settings, first, go_on, undisturbed, lost
):
    forget(redis, keyspace.prefix("*", "*"))
    if "votes" in lost:
        forget(redis, keyspace.certificate("*"), keyspace.votes("*", "*"))
    job = go_on(first)
    run_certification(redis, settings, job.id)
    assert find(redis, job) == undisturbed


def test_a_continuation_of_an_equal_request_is_answered_with_the_stored_certificate(
    redis: Redis, settings, first, go_on, submit
):
    one, again = go_on(first), go_on(first)
    run_certification(redis, settings, one.id)
    forget(redis, keyspace.image("*"))  # nothing can be counted again
    run_certification(redis, settings, again.id)
    assert find(redis, again) == find(redis, one)
    assert find(redis, first) != find(redis, one)


def test_a_purged_first_part_leaves_the_votes_that_the_continuation_stands_on(
    redis: Redis, settings, first, go_on
):
    job = go_on(first)
    run_certification(redis, settings, job.id)
    purge(redis, first, ttl_s=60)
    assert list(redis.scan_iter(f"*:{STREAM}"))
    purge(redis, job, ttl_s=60)
    assert not list(redis.scan_iter(f"*:{STREAM}"))


def test_a_continuation_under_another_f_begins_anew_and_counts_an_attempt(
    redis: Redis, settings, first, go_on
):
    """With the same noise: moving to another host is no new roll, but counts were shown."""
    before = find(redis, first)
    for key in redis.scan_iter(keyspace.prefix("*", "*")):
        for name, text in redis.hgetall(key).items():
            stored = json.loads(text)
            stored["identity"]["fingerprint"] = OTHER
            redis.hset(key, name, json.dumps(stored))
    (shown,) = redis.scan_iter(keyspace.shown("*"))
    redis.delete(shown)
    redis.sadd(shown, OTHER)
    job = go_on(first)
    run_certification(redis, settings, job.id)
    after = find(redis, job)
    assert {entry.attempts for entry in after.certificates} == {2}
    assert after.provenance.noise_keys == before.provenance.noise_keys
    assert after.certificates[0].looks[0] == before.certificates[0].looks[0]  # equal f in truth


def test_a_prefix_lasts_as_long_as_the_certificate_at_its_end(redis: Redis, settings, first):
    (key,) = redis.scan_iter(keyspace.prefix("*", "*"))
    assert redis.ttl(key) > settings.certificate_ttl_s - 60
