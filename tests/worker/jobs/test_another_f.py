"""A job goes on under another f from sample 0, with the same noise, as a further attempt."""

import json

import pytest
from redis import Redis

from worker.contract import CohenParameters
from worker.contract.host import f_sha256
from worker.jobs.certify import JobTooSlow, run_certification
from worker.jobs.purge import purge
from worker.store import keyspace
from worker.store.jobs import results

OTHER = "0" * 64
STREAM = "estimation:0.25:0"


@pytest.fixture
def cut_off(redis: Redis, settings, submit):
    """A job of which a host with another fingerprint counted a part, and showed it."""
    eager = settings.model_copy(update={"checkpoint_interval_s": 1e-9})
    job = submit(procedure=CohenParameters(n0=64, n=300))
    for _ in range(3):
        with pytest.raises(JobTooSlow):
            run_certification(redis, eager, job.id, allowance_s=0)
    checkpoint = keyspace.checkpoint(job.id)
    for name, text in redis.hgetall(checkpoint).items():
        stored = json.loads(text)
        stored["identity"]["fingerprint"] = OTHER
        redis.hset(checkpoint, name, json.dumps(stored))
    (shown,) = redis.scan_iter(keyspace.shown("*"))
    (own,) = redis.smembers(shown)
    for key in redis.scan_iter(keyspace.votes("*", "*")):
        redis.rename(key, key.replace(own, OTHER.encode()))
    redis.delete(shown)
    redis.sadd(shown, OTHER)
    return job


def take_votes(redis: Redis, f: str) -> dict[bytes, bytes]:
    keys = redis.scan_iter(keyspace.votes("*", "*", f))
    return {key: redis.get(key) for key in keys}


def test_a_resumed_job_begins_anew_under_another_f_and_counts_an_attempt(
    redis: Redis, settings, cut_off
):
    before = take_votes(redis, OTHER)
    assert before
    run_certification(redis, settings, cut_off.id)
    result = results.find_result(redis, cut_off.id)
    assert result.certificates[0].attempts == 2
    assert result.certificates[0].alpha_of_attempts == 2 * cut_off.request.alpha_spent
    own_f = f_sha256(result.provenance)
    assert take_votes(redis, OTHER) == before  # another run never overwrites a certificate's votes
    own = take_votes(redis, own_f)
    assert len(own[next(key for key in own if STREAM.encode() in key)]) == 2 * 300  # from sample 0
    for key, votes in before.items():
        assert own[key.replace(OTHER.encode(), own_f.encode())].startswith(votes)  # one noise


def test_the_same_f_keeps_its_attempt_however_often_it_is_resumed(redis: Redis, settings, submit):
    eager = settings.model_copy(update={"checkpoint_interval_s": 1e-9})
    job = submit()
    for _ in range(2):
        with pytest.raises(JobTooSlow):
            run_certification(redis, eager, job.id, allowance_s=0)
    run_certification(redis, eager, job.id)
    entry = results.find_result(redis, job.id).certificates[0]
    assert entry.attempts == 1
    assert entry.alpha_of_attempts == job.request.alpha_spent


def test_counts_shown_before_a_cancelled_job_are_an_attempt_of_their_own(
    redis: Redis, settings, cut_off
):
    """The checkpoint is gone; that counts were shown is not forgotten."""
    redis.delete(keyspace.checkpoint(cut_off.id))
    run_certification(redis, settings, cut_off.id)
    assert results.find_result(redis, cut_off.id).certificates[0].attempts == 2


def test_a_purge_removes_the_votes_of_every_f(redis: Redis, settings, cut_off):
    run_certification(redis, settings, cut_off.id)
    purge(redis, cut_off, ttl_s=60)
    assert list(redis.scan_iter(keyspace.votes("*", "*"))) == []
