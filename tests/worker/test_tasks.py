"""One job from Redis to its result, with a real queue and a real engine."""

import json
import os
import subprocess
import sys
import zlib

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from rq import Queue
from rq_workers import rq_worker
from waiting import NEVER_S, wait_until

from worker.certification.merkle import VoteTree
from worker.contract import QUEUE_NAME, TASK_CERTIFY, WorkerReport
from worker.contract.certificate.document import FailedResult, FinishedResult
from worker.contract.request import request_sha256
from worker.contract.votes import Votes, votes_stream
from worker.engine.client import EngineLost
from worker.jobs import queue as job_queue
from worker.jobs.certify import run_certification
from worker.jobs.queue import CertificationRqJob, ForbiddenTask
from worker.jobs.state import get_state
from worker.key_secret import SecretUnusable
from worker.store import hosts, images, keyspace
from worker.store.connection import create_app_redis
from worker.store.jobs import certificates, progress, results
from worker.store.votes import VotesOf, get_votes, put_votes


def finished(redis, certification_id: str) -> FinishedResult:
    result = results.find_result(redis, certification_id)
    assert isinstance(result, FinishedResult)
    return result


def test_a_job_becomes_its_certificates(redis, settings, submit):
    job = submit()
    assert get_state(redis, job.id) == "queued"
    run_certification(redis, settings, job.id)
    result = finished(redis, job.id)
    assert [float(c.sigma) for c in result.certificates] == [0.1, 0.25]
    assert get_state(redis, job.id) == "finished"
    assert progress.get_checkpoints(redis, job.id) == {}
    assert progress.find_progress(redis, job.id) is None


def test_the_same_request_again_returns_the_stored_certificates(redis, settings, submit):
    first, second = submit(), submit()
    run_certification(redis, settings, first.id)
    redis.delete(keyspace.image(first.request.input.sha256))  # nothing can be counted again
    run_certification(redis, settings, second.id)
    assert finished(redis, second.id) == finished(redis, first.id)


def test_an_answer_given_again_keeps_what_it_names_as_long(redis, settings, submit):
    """Else its votes could no longer be shown while the second certification lives."""
    first, second = submit(), submit()
    run_certification(redis, settings, first.id)
    kept = [*redis.keys(keyspace.certificate("*")), *redis.keys(keyspace.votes("*", "*"))]
    assert len(kept) == 5  # one certificate, two phases at two noise levels
    for key in kept:
        redis.expire(key, 5)
    run_certification(redis, settings, second.id)
    assert all(redis.ttl(key) > settings.certificate_ttl_s - 60 for key in kept)


def test_the_same_request_counted_again_gives_the_same_certificates(redis, settings, submit):
    first, second = submit(), submit()
    run_certification(redis, settings, first.id)
    for key in redis.scan_iter(keyspace.certificate("*")):
        redis.delete(key)
    run_certification(redis, settings, second.id)
    assert finished(redis, second.id) == finished(redis, first.id)


def test_every_other_roll_for_an_image_is_a_further_attempt(redis, settings, submit):
    jobs = [submit(), submit(n=301), submit(), submit(seed=1), submit(attempt=1)]
    for job in jobs:
        run_certification(redis, settings, job.id)
    attempts = [finished(redis, job.id).certificates[0].attempts for job in jobs]
    assert attempts == [1, 2, 1, 1, 3]


def test_a_job_never_makes_a_secret_and_never_uses_another(redis, settings, submit):
    """An unmounted volume or a bad copy would roll again under a commitment nobody published."""
    job = submit()
    secret = settings.secret_path.read_bytes()
    settings.secret_path.unlink()
    with pytest.raises(SecretUnusable, match="missing"):
        run_certification(redis, settings, job.id)
    assert not settings.secret_path.exists()
    settings.secret_path.write_bytes(b"o" * 32)
    with pytest.raises(hosts.OtherSecret):
        run_certification(redis, settings, job.id)
    settings.secret_path.write_bytes(secret)
    run_certification(redis, settings, job.id)
    assert finished(redis, job.id)


def test_a_host_with_another_secret_is_refused(redis, settings):
    with pytest.raises(hosts.OtherSecret, match="same secret file"):
        hosts.publish_keys(redis, "0" * 64, "")


def test_a_request_that_drew_no_noise_is_no_attempt(redis, settings, create_job, submit):
    job, image = create_job()
    other = job.request.model.model_copy(update={"sha256": "0" * 64})
    refused = job.model_copy(update={"request": job.request.model_copy(update={"model": other})})
    job_queue.accept_jobs(redis, [(refused, image)], image_ttl_s=600, job_ttl_s=600)
    run_certification(redis, settings, refused.id)
    good = submit()
    run_certification(redis, settings, good.id)
    assert finished(redis, good.id).certificates[0].attempts == 1


def test_an_attempt_keeps_its_number(redis, create_job, engine):
    (one, _), (two, _) = create_job(), create_job(n=301)
    (identity,) = [f for f in engine.status().models if f.model.id == "linear"]
    for job, sha256, number in ((one, "a", 1), (two, "b", 2), (one, "a", 1)):
        found = certificates.count_attempt(redis, job.request, sha256 * 64, identity)
        assert found.number == number
        assert found.alpha_sum == number * job.request.alpha_spent


def test_one_fingerprint_with_another_tau_is_a_further_attempt_and_keeps_its_own_votes(
    redis, create_job, engine
):
    job, _ = create_job()
    (one,) = [f for f in engine.status().models if f.model.id == "linear"]
    two, sha256 = one.model_copy(update={"tau": 1e-5}), "a" * 64
    found = []
    for identity, vote in ((one, 0), (two, 1), (one, 0), (two, 1)):
        counted = certificates.count_attempt(redis, job.request, sha256, identity, anew=bool(found))
        certificates.note_shown(redis, sha256, identity)
        votes = Votes(stream="s", start=0, votes=(vote,))
        put_votes(redis, VotesOf(sha256, identity), votes, ttl_s=60)
        found.append(counted.number)
    assert found == [1, 2, 3, 2]  # begun anew twice on the same noise, it is the same roll
    assert [get_votes(redis, VotesOf(sha256, f), "s", 1) for f in (one, two)] == [(0,), (1,)]


def test_votes_where_earlier_versions_stored_them_are_found(redis, engine):
    (f, *_) = engine.status().models
    for before in (None, f.fingerprint):
        redis.flushdb()
        redis.set(keyspace.votes("a" * 64, "s", before), b"\0\1")
        assert get_votes(redis, VotesOf("a" * 64, f), "s", 1) == (1,)


def test_every_run_of_an_f_without_a_fingerprint_is_an_attempt_once_counts_were_shown(
    redis, create_job, engine
):
    """Its votes may be others each time, so asking it again is no free roll."""
    job, _ = create_job()
    (named,) = [f for f in engine.status().models if f.model.id == "linear"]
    identity, sha256 = named.model_copy(update={"fingerprint": None}), "a" * 64

    def count(identity):
        return certificates.count_attempt(redis, job.request, sha256, identity)

    assert [count(identity).number for _ in range(2)] == [1, 1]  # nothing was shown yet
    certificates.note_shown(redis, sha256, identity)
    assert [count(identity).number for _ in range(2)] == [2, 3]
    assert count(named).number == 4
    assert count(named).alpha_sum == 4 * job.request.alpha_spent


def test_a_retry_goes_on_from_the_stored_counts(redis, settings, submit, watch):
    whole, broken = submit(), submit()
    run_certification(redis, settings, whole.id)
    for key in redis.scan_iter(keyspace.certificate("*")):
        redis.delete(key)
    eager = settings.model_copy(update={"checkpoint_interval_s": 1e-9})

    def break_off(number, _):
        if number == 5:
            raise RedisConnectionError("away")

    watched = watch(break_off, keyspace.checkpoint(broken.id))
    with pytest.raises(RedisConnectionError):
        run_certification(watched, eager, broken.id)
    assert progress.get_checkpoints(redis, broken.id)
    assert progress.find_progress(redis, broken.id).samples_done > 0
    run_certification(redis, settings, broken.id)
    assert finished(redis, broken.id) == finished(redis, whole.id)


def test_an_expired_image_is_a_result_and_no_retry(redis, settings, submit):
    job = submit()
    redis.delete(keyspace.image(job.request.input.sha256))
    run_certification(redis, settings, job.id)
    result = results.find_result(redis, job.id)
    assert isinstance(result, FailedResult)
    assert result.failure.code == "image_expired"
    assert get_state(redis, job.id) == "failed"


def test_a_damaged_image_is_never_certified(redis, settings, submit):
    job = submit()
    key = keyspace.image(job.request.input.sha256)
    data = bytearray(redis.get(key))
    data[7] ^= 1
    redis.set(key, bytes(data))
    run_certification(redis, settings, job.id)
    assert isinstance(results.find_result(redis, job.id), FailedResult)


def test_a_model_that_changed_is_a_result_and_no_retry(redis, settings, create_job):
    job, image = create_job()
    other = job.request.model.model_copy(update={"sha256": "0" * 64})
    job = job.model_copy(update={"request": job.request.model_copy(update={"model": other})})
    job_queue.accept_jobs(redis, [(job, image)], image_ttl_s=600, job_ttl_s=600)
    run_certification(redis, settings, job.id)
    result = results.find_result(redis, job.id)
    assert isinstance(result, FailedResult)
    assert result.failure.code == "model_changed"


def test_an_engine_that_is_away_is_a_retry_and_no_result(redis, settings, submit, tmp_path):
    job = submit()
    away = settings.model_copy(update={"engine_socket": tmp_path / "none", "engine_wait_s": 0.1})
    with pytest.raises(EngineLost):
        run_certification(redis, away, job.id)
    assert results.find_result(redis, job.id) is None


def test_a_result_is_never_overwritten(redis, settings, submit):
    job = submit()
    run_certification(redis, settings, job.id)
    before = finished(redis, job.id)
    failure = FailedResult.model_validate({"failure": {"code": "x", "detail": "y"}})
    results.put_result(redis, job.id, failure, ttl_s=60)
    assert finished(redis, job.id) == before


@pytest.mark.parametrize(
    "name", ["os.system", "worker.jobs.certify.run_certification", "builtins.eval"]
)
def test_the_queue_runs_nothing_but_our_tasks(redis, name):
    queue = Queue(QUEUE_NAME, connection=redis, serializer="json")
    stored = queue.enqueue_call(name, args=("true",))
    job = CertificationRqJob.fetch(stored.id, connection=redis, serializer="json")
    with pytest.raises(ForbiddenTask):
        _ = job.func


def test_what_lies_in_redis_is_json_with_ids_alone(redis, submit):
    job = submit()
    stored = redis.hgetall(f"rq:job:{job.id}")
    assert stored[b"description"] == b"certify"
    assert json.loads(zlib.decompress(stored[b"data"])) == [TASK_CERTIFY, None, [job.id], {}]


def test_a_stored_image_expires(redis, submit):
    job = submit()
    assert 0 < redis.ttl(keyspace.image(job.request.input.sha256)) <= NEVER_S
    assert 0 < redis.ttl(keyspace.job(job.id)) <= NEVER_S


def test_an_image_that_is_no_prepared_image_is_refused(redis):
    import numpy as np

    with pytest.raises(ValueError, match="uint8"):
        images.put_image(redis, "0" * 64, np.zeros((8, 8, 3), np.uint8), ttl_s=60)


def test_silent_hosts_are_forgotten(redis):
    from datetime import UTC, datetime

    report = WorkerReport(
        name="a", started_at=datetime.now(UTC), ready=True, key_commitment="0" * 64
    )
    hosts.announce(redis, report)
    hosts.announce(redis, report.model_copy(update={"name": "b"}))
    redis.delete(keyspace.worker("a"))
    assert [w.name for w in hosts.list_workers(redis)] == ["b"]
    hosts.withdraw(redis, "b")
    assert hosts.list_workers(redis) == ()


def test_the_app_s_connection_says_at_once_that_redis_is_away(free_port):
    """The answer of the app must not wait: half a second, and no second try."""
    redis = create_app_redis(f"redis://127.0.0.1:{free_port}/0")
    options = redis.connection_pool.connection_kwargs
    assert (options["socket_timeout"], options["socket_connect_timeout"]) == (0.5, 0.5)
    tries: list[object] = []

    def refuse() -> None:
        tries.append(redis)
        raise RedisConnectionError

    with pytest.raises(RedisConnectionError):
        redis.get_retry().call_with_retry(refuse, lambda _: None)
    assert len(tries) == 1
    with pytest.raises(RedisConnectionError):
        redis.ping()


def test_work_horses_know_no_torch():
    """torch in a forking parent would break CUDA and cost every fork its memory."""
    code = "import sys, worker.rq_worker, worker.supervisor; sys.exit('torch' in sys.modules)"
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    assert (
        subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0
    )


def test_jobs_run_through_rq_itself(redis, settings, submit):
    """The stock forking worker with our overrides, in a process of its own."""
    jobs = [submit(seed=seed) for seed in range(4)]
    with rq_worker(settings):
        wait_until(lambda: all(results.find_result(redis, job.id) for job in jobs))
    assert [get_state(redis, job.id) for job in jobs] == ["finished"] * 4


def test_single_votes_are_stored_and_make_the_root(redis, settings, submit):
    job = submit()
    run_certification(redis, settings, job.id)
    result = finished(redis, job.id)
    sha256 = request_sha256(job.request, result.provenance.key_commitment)
    of = VotesOf(sha256, result.provenance)
    for entry in result.certificates:
        for phase, n in (("selection", entry.n0), ("estimation", entry.n)):
            votes = get_votes(redis, of, votes_stream(entry.sigma, phase, 0), n)
            assert VoteTree().appended(votes).root == entry.votes_root[phase]
