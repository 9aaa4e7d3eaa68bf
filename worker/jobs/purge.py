"""Purges a certification that has ended: removes what is stored about its image before it expires.

The job, its result, its checkpoint and its place in lists are removed. The prepared image and the
single votes are removed too, unless another stored job needs them.

The attempts on the image, the digests of prompts tuned on it, those prompts, and the outcome of the
canonical request are kept, so that asking again is not a free roll. The outcome holds counts and
digests but no pixels, and expires with certificates. Only a caller who sends the same image with
the same request is given it.
"""

from collections.abc import Collection

from redis import Redis
from redis.client import Pipeline

from worker.contract import QUEUE_NAME, CertificationJob, CertifyRequest
from worker.contract.request import request_sha256
from worker.contract.votes import votes_stream
from worker.counting.contests import PHASES, create_contests, create_places
from worker.jobs.queue import end_job
from worker.store import keyspace
from worker.store.connection import as_text
from worker.store.durable import one_connection, wait_durable
from worker.store.jobs import accepted, listing
from worker.store.jobs.certificates import list_shown

_RELEASE = """
redis.call('SREM', KEYS[1], ARGV[1])
for _, holder in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  if redis.call('EXISTS', holder) == 1 then return end
end
redis.call('DEL', unpack(KEYS))
"""


def purge(redis: Redis, job: CertificationJob, *, ttl_s: int) -> None:
    """Removes a certification that has a result or was lost. It is on disk before this returns.

    For `ttl_s` seconds, a run that still counts for it can store nothing.
    """
    with one_connection(redis) as connection:
        request_sha256 = _find_request_sha256(connection, job)
        shown = list_shown(connection, request_sha256) if request_sha256 else ()
        with connection.pipeline() as pipeline:
            _release_image(pipeline, job)
            if request_sha256 is not None:
                _release_votes(pipeline, job, request_sha256, shown)
            _remove_job(pipeline, job, ttl_s=ttl_s)
            pipeline.execute()
        wait_durable(connection)


def purge_damaged(redis: Redis, certification_id: str, *, ttl_s: int) -> None:
    """Removes a certification whose job cannot be read. It is on disk before this returns.

    Its image and votes are not known any more; they go when their time to live has passed.
    """
    with one_connection(redis) as connection:
        lists = [keyspace.ALL_LISTED, *connection.scan_iter(keyspace.listed("*"), count=500)]
        with connection.pipeline() as pipeline:
            _remove_records(pipeline, certification_id, ttl_s=ttl_s)
            for key in lists:
                pipeline.zrem(key, certification_id)
            accepted.settle(pipeline, QUEUE_NAME, certification_id)
            pipeline.execute()
        wait_durable(connection)
        end_job(connection, certification_id)


def _find_request_sha256(redis: Redis, job: CertificationJob) -> str | None:
    """The digest that votes are stored under; None if no worker host ever started."""
    found = redis.get(keyspace.KEY_COMMITMENT)
    if found is None:
        return None
    commitment = as_text(found)
    return request_sha256(job.request, commitment)


def _release_image(pipeline: Pipeline, job: CertificationJob) -> None:
    sha256 = job.request.input.sha256
    keys = (keyspace.image_holders(sha256), keyspace.image(sha256))
    pipeline.eval(_RELEASE, len(keys), *keys, keyspace.job(job.id))


def _release_votes(
    pipeline: Pipeline,
    job: CertificationJob,
    request_sha256: str,
    shown: Collection[str],
) -> None:
    streams = list_streams(job.request)
    keys = (
        keyspace.votes_holders(request_sha256),
        *(
            keyspace.votes(request_sha256, stream, f_sha256)
            for stream in streams
            for f_sha256 in (None, *shown)
        ),
    )
    pipeline.eval(_RELEASE, len(keys), *keys, keyspace.job(job.id))


def _remove_records(pipeline: Pipeline, certification_id: str, *, ttl_s: int) -> None:
    pipeline.set(keyspace.cancel(certification_id), "1", ex=ttl_s)
    pipeline.delete(
        keyspace.job(certification_id),
        keyspace.result(certification_id),
        keyspace.checkpoint(certification_id),
        keyspace.progress(certification_id),
        keyspace.cost(certification_id),
        keyspace.priority(certification_id),
        keyspace.continued_by(certification_id),
        keyspace.witness(certification_id),
        keyspace.witness_asked(certification_id),
    )


def _remove_job(pipeline: Pipeline, job: CertificationJob, *, ttl_s: int) -> None:
    _remove_records(pipeline, job.id, ttl_s=ttl_s)
    listing.remove(pipeline, job)
    if job.batch_id is not None:
        pipeline.lrem(keyspace.batch(job.batch_id), 0, job.id)


def list_streams(request: CertifyRequest) -> tuple[str, ...]:
    """The names of all streams that the votes of a request may be in."""
    ballots = create_places(create_contests(request))[-1].stop
    return tuple(
        votes_stream(sigma, phase, place)
        for sigma in request.sigmas
        for phase in PHASES
        for place in range(ballots)
    )
