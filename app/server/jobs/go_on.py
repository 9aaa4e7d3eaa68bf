"""A certification that goes on: the next part of its schedule as a certification of its own.

Both are of one canonical request and one roll, so the samples of the first are those of the second,
and the earlier certificate stays as it is.
"""

from datetime import UTC, datetime
from uuid import uuid4

from redis import Redis
from redis.client import Pipeline
from redis.exceptions import WatchError

from app.server.access.caller import Caller
from app.server.access.priorities import require_priority
from app.server.access.quotas import reserve
from app.server.answers import problems
from app.server.audit_log.entries import describe_jobs
from app.server.audit_log.outcomes import await_outcomes
from app.server.jobs.capacity.model_hosts import require_card, require_host
from app.server.jobs.lookup import require_image
from app.server.jobs.services import Services
from app.server.jobs.webhooks.webhooks import create_callback
from app.server.middleware.request_context import find_request_id
from worker.certification import StopReason
from worker.contract import QUEUE_NAME, CertificationJob, CertifyRequest
from worker.contract.certificate.document import FinishedResult
from worker.contract.image import Image
from worker.jobs import queue
from worker.jobs.state import get_state
from worker.store import keyspace
from worker.store.connection import as_text
from worker.store.jobs import records, results
from worker.store.jobs.callbacks import note_callback

_SETTLED = (StopReason.TARGET_REACHED, StopReason.CONTRADICTION)
_SEND_AGAIN = (
    "The certified image is no longer stored. Send it again with the same fields, which is "
    "answered at once with the same certificates, and continue that certification."
)


def go_on(services: Services, job: CertificationJob, caller: Caller) -> CertificationJob:
    """The certification that goes on from this one: queued now, or when it was first asked for.

    It has the priority and the owner of this one. Its end is told to the default address of the
    owner's key, if there is one.

    Raises:
        NotFinished: it has no certificates to go on from.
        NothingToContinue: its schedule is at its end, or further samples would change nothing.
        InputImageExpired: the image is no longer stored.
        Problem: too much waits, or the key may not ask for so many samples or for this priority.
        redis.exceptions.RedisError: the queue is away.
    """
    redis = services.redis
    while True:
        known = redis.get(keyspace.continued_by(job.id))
        if known is not None and (found := _find_alive(redis, as_text(known))) is not None:
            return found
        request, image = _require_more(redis, job), require_image(redis, job, _SEND_AGAIN)
        require_host(redis, require_card(services.catalogue, request.model.id))
        services.queue_limit.require_room(redis, require_priority(caller, job.priority))
        try:
            return _enqueue(services, caller, job, _create_job(job, request), image, known)
        except WatchError:
            continue  # the same was asked for at this moment


def _find_alive(redis: Redis, certification_id: str) -> CertificationJob | None:
    """The continuation, unless it was purged or ended without certificates: then a new one may."""
    job = records.find_job(redis, certification_id)
    if job is None or get_state(redis, job.id) in ("failed", "cancelled"):
        return None
    return job


def _require_more(redis: Redis, job: CertificationJob) -> CertifyRequest:
    """The request for the next part."""
    result = results.find_result(redis, job.id)
    if not isinstance(result, FinishedResult):
        raise problems.NotFinished("A certification goes on after it has finished, not before.")
    request = job.request.find_continued()
    reasons = {getattr(one, "stopped_by", None) for one in result.certificates}
    if request is None or reasons <= set(_SETTLED):
        raise problems.NothingToContinue
    return request


def _create_job(job: CertificationJob, request: CertifyRequest) -> CertificationJob:
    return CertificationJob(
        id=uuid4().hex,
        owner=job.owner,
        priority=job.priority,
        submitted_at=datetime.now(UTC),
        request_id=find_request_id(),
        request=request,
        continues=job.id,
        reference=job.reference,
    )


def _enqueue(
    services: Services,
    caller: Caller,
    job: CertificationJob,
    following: CertificationJob,
    image: Image,
    known: bytes | str | None,
) -> CertificationJob:
    """Queues it, and notes it as the continuation, in one transaction.

    Raises:
        WatchError: another one was noted since `known` was read.
    """
    settings, key = services.settings, keyspace.continued_by(job.id)
    ttl_s = settings.certificate_ttl_s
    further = following.request.samples_total - job.request.samples_total
    url = services.webhooks.choose_url(following.owner, None)

    def watch(pipeline: Pipeline) -> None:
        pipeline.watch(key)  # type: ignore[no-untyped-call]  # redis-py has not typed it
        if pipeline.get(key) != known:
            raise WatchError

    def note(pipeline: Pipeline) -> None:
        pipeline.set(key, following.id, ex=ttl_s)
        if url is not None:
            note_callback(pipeline, create_callback(following, url), ttl_s=ttl_s)

    with reserve(services.redis, caller, certify=[following.id], samples=further):
        services.audit.record("certify.accepted", **describe_jobs([following]))
        await_outcomes(services.audit, services.redis, QUEUE_NAME, [following.id], ttl_s=ttl_s)
        queue.accept_jobs(
            services.redis,
            [(following, image)],
            image_ttl_s=settings.image_ttl_s,
            job_ttl_s=ttl_s,
            watch=watch,
            alongside=note,
        )
    return following
