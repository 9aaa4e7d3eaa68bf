"""Turns a form into jobs. Everything is checked before anything is queued."""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from uuid import uuid4

from anyio import to_thread
from redis.client import Pipeline

from app.request.certify import check_fields
from app.request.certify_request import create_request, resolve_targets
from app.server.access.caller import Caller
from app.server.access.priorities import require_priority
from app.server.access.quotas import reserve
from app.server.answers.problems import ImageRefused
from app.server.audit_log.entries import describe_jobs
from app.server.audit_log.outcomes import await_outcomes
from app.server.forms.certify_body import CertifyBody
from app.server.jobs.capacity.model_hosts import require_card, require_host
from app.server.jobs.idempotency import ClaimedKey
from app.server.jobs.services import Services
from app.server.jobs.webhooks.webhooks import create_callback
from app.server.middleware.request_context import find_request_id
from models.catalogue.cards import ModelCard
from models.imaging import ImageError
from worker.contract import QUEUE_NAME, CertificationJob, InputImage
from worker.contract.image import Image
from worker.jobs import queue
from worker.prepare import prepare_image
from worker.store import prompts
from worker.store.jobs import records
from worker.store.jobs.callbacks import note_callback

Prepared = tuple[int, Image, InputImage]


async def submit_certify(
    services: Services, asked: CertifyBody, caller: Caller, claim: ClaimedKey | None = None
) -> list[CertificationJob]:
    """Queues one job per usable image, all in one transaction.

    Args:
        services: of the app.
        asked: the fields and the images of the request.
        caller: who sends the request and owns the jobs.
        claim: the idempotency key that leads to these jobs from the same transaction on.

    Raises:
        FieldInvalid: a field asks for something that this service does not do.
        Problem: the key may not ask for this priority, there is no such model, no image can be
            used, or too much waits.
        redis.exceptions.RedisError: the queue is away.
    """
    form, count = asked.fields, len(asked.images)
    card = require_card(services.catalogue, form.model or services.settings.default_model)
    check_fields(form, services.settings.limits, images=count)
    await to_thread.run_sync(require_host, services.redis, card)
    priority = require_priority(caller, form.priority or "normal")
    url = await to_thread.run_sync(services.webhooks.choose_url, caller.key_id, form.callback_url)
    await to_thread.run_sync(services.queue_limit.require_room, services.redis, priority)
    find_card = partial(prompts.find_card, services.redis, view=caller.view)
    targets = await to_thread.run_sync(resolve_targets, form, card, find_card)
    prepared = [await _prepare(services, asked, card, index) for index in range(count)]
    usable = [one for one in prepared if not isinstance(one, ImageRefused)]
    refused = [one for one in prepared if isinstance(one, ImageRefused)]
    if not usable:
        raise refused[0]
    batch_id, now = uuid4().hex if count > 1 else None, datetime.now(UTC)

    def create_job(described: InputImage, index: int) -> CertificationJob:
        # Alpha is divided among all images sent. If some are refused, the joint claim for the
        # others only becomes stronger.
        return CertificationJob(
            id=uuid4().hex,
            batch_id=batch_id,
            owner=caller.key_id,
            priority=priority,
            image_index=index,
            reference=form.find_reference(index),
            submitted_at=now,
            request_id=find_request_id(),
            request=create_request(form, card, targets, described, images=count),
            witness=form.witness,
        )

    pairs = [(create_job(described, index), image) for index, image, described in usable]
    await to_thread.run_sync(enqueue, services, caller, pairs, refused, claim, url)
    return [job for job, _ in pairs]


async def _prepare(
    services: Services, asked: CertifyBody, card: ModelCard, index: int
) -> Prepared | ImageRefused:
    decode = partial(
        prepare_image,
        await asked.images[index].read(),
        card,
        frame=asked.fields.frame,
        window=asked.fields.requested_window,
        decoder=services.decoder,
    )
    try:
        image, described = await to_thread.run_sync(decode, limiter=services.decoding)
    except ImageError as error:
        return ImageRefused(error, index=index, count=len(asked.images))
    return index, image, described


def enqueue(
    services: Services,
    caller: Caller,
    pairs: Sequence[tuple[CertificationJob, Image]],
    refused: Sequence[ImageRefused] = (),
    claim: ClaimedKey | None = None,
    callback_url: str | None = None,
) -> None:
    """Queues jobs within the caller's quotas, and has the audit log know of them. All or none."""
    settings, batch_id = services.settings, pairs[0][0].batch_id

    def alongside(pipeline: Pipeline) -> None:
        if refused:
            assert batch_id is not None, "a single refused image makes no job"
            ttl_s = settings.certificate_ttl_s
            records.put_refused(pipeline, batch_id, [one.of_image for one in refused], ttl_s=ttl_s)
        if callback_url is not None:
            for job, _ in pairs:
                callback = create_callback(job, callback_url)
                note_callback(pipeline, callback, ttl_s=settings.certificate_ttl_s)
        if claim is not None:
            claim.keep(pipeline, [job.id for job, _ in pairs], ttl_s=settings.idempotency_ttl_s)

    jobs, samples = [job.id for job, _ in pairs], sum(j.request.samples_total for j, _ in pairs)
    with reserve(services.redis, caller, certify=jobs, samples=samples):
        services.audit.record("certify.accepted", **describe_jobs([job for job, _ in pairs]))
        ttl_s = settings.certificate_ttl_s
        await_outcomes(services.audit, services.redis, QUEUE_NAME, jobs, ttl_s=ttl_s)
        queue.accept_jobs(
            services.redis,
            pairs,
            image_ttl_s=settings.image_ttl_s,
            job_ttl_s=settings.certificate_ttl_s,
            watch=(lambda _: None) if claim is None else claim.watch,
            alongside=alongside,
        )
