"""From a form to jobs: everything is checked before anything is queued."""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from uuid import uuid4

from anyio import to_thread
from redis.client import Pipeline

from app.server.access.caller import Caller
from app.server.access.quotas import reserve
from app.server.answers.problems import ImageRefused, ModelUnknown, invalid
from app.server.audit_log.entries import describe_jobs
from app.server.audit_log.outcomes import await_outcomes
from app.server.forms.certify import PARAMETERS, CertifyFields
from app.server.forms.certify_body import Asked
from app.server.jobs.capacity.model_hosts import require_host
from app.server.jobs.capacity.queue_limit import require_room
from app.server.jobs.idempotency import Claim
from app.server.middleware.request_context import find_request_id
from app.server.routes.dependencies import Services
from app.settings import AppSettings
from app.targets import TargetInvalid, create_targets
from models.catalogue import Catalogue, ModelNotAdded, ModelNotValid, UnknownModel
from models.catalogue.cards import ModelCard
from models.imaging import ImageError
from worker.contract import (
    QUEUE_NAME,
    CertificationJob,
    CertifyRequest,
    InputImage,
    ModelRef,
    Target,
)
from worker.contract.image import Image
from worker.jobs import queue
from worker.prepare import prepare_image
from worker.store import prompts
from worker.store.jobs import records

Prepared = tuple[int, Image, InputImage]


async def submit(
    services: Services, asked: Asked, caller: Caller, claim: Claim | None = None
) -> list[CertificationJob]:
    """Queues one job per image that can be used, all in one step, if there is any.

    Args:
        services: of the app.
        asked: what is asked of which images.
        caller: who asks, and owns what is queued.
        claim: the idempotency key that leads to these jobs from the same step on.

    Raises:
        Problem: the request asks for something that this service does not do, no image can be
            used, or too much waits.
        redis.exceptions.RedisError: the queue is away.
    """
    form, count = asked.fields, len(asked.images)
    card = find_card(services.catalogue, form.model or services.settings.default_model)
    check_limits(form, count, services.settings)
    await to_thread.run_sync(require_host, services.redis, card)
    await to_thread.run_sync(require_room, services.redis, services.settings)
    targets = await to_thread.run_sync(_find_targets, services, form, card, caller)
    prepared = [await _prepare(services, asked, card, index) for index in range(count)]
    usable = [one for one in prepared if not isinstance(one, ImageRefused)]
    refused = [one for one in prepared if isinstance(one, ImageRefused)]
    if not usable:
        raise refused[0]
    batch_id = uuid4().hex if count > 1 else None
    common = partial(_create_job, form, card, targets, count, caller, batch_id, datetime.now(UTC))
    pairs = [(common(described, index), image) for index, image, described in usable]
    await to_thread.run_sync(_enqueue, services, caller, pairs, refused, claim)
    return [job for job, _ in pairs]


def find_card(catalogue: Catalogue, model_id: str) -> ModelCard:
    """The card of a model, or the problem that there is none."""
    try:
        return catalogue.get(model_id)
    except UnknownModel as unknown:
        known = tuple(card.id for card in catalogue.list())
        text = f"There is no such model; those known here: {', '.join(known) or 'none'}."
        if isinstance(unknown, ModelNotAdded):
            text = str(unknown)
        if isinstance(unknown, ModelNotValid):
            text = f"The model {model_id!r} is not served: its card on this host is not valid."
        raise ModelUnknown(text, known=known) from None


def check_limits(form: CertifyFields, images: int, settings: AppSettings) -> None:
    """Refuses what is well formed but more than the operator allows."""
    checks = (
        ("image", images, settings.max_images, "at most {} images"),
        ("sigma", len(form.sigma), settings.max_sigmas, "at most {} noise levels"),
        ("n_max", form.n_max or 1, settings.max_n, "an integer from 1 to {}"),
        ("n", form.n or 1, settings.max_n, "an integer from 1 to {}"),
        ("n0", form.n0 or 1, settings.max_n0, "an integer from 1 to {}"),
    )
    if form.targets and (form.class_name or form.template or form.prompting or form.prompt):
        raise invalid(
            "targets", "either targets, or prompting, prompt, class_name and template, not both"
        )
    if foreign := form.foreign_parameters:
        takes = ", ".join(PARAMETERS[form.procedure])
        raise invalid(foreign[0], f"no value: the procedure is {form.procedure}, it takes {takes}")
    for field, value, limit, expected in checks:
        if value > limit:
            raise invalid(field, expected.format(limit))


def _find_targets(
    services: Services, form: CertifyFields, card: ModelCard, caller: Caller
) -> tuple[Target, ...]:
    """What the image is compared with, prompts by their digests."""
    try:
        targets = create_targets(
            form.requested_targets,
            card,
            partial(prompts.find_card, services.redis, view=caller.view),
            companions=form.targets is None,
        )
    except TargetInvalid as error:
        raise invalid("targets" if form.targets else error.field, error.expected) from None
    if form.procedure == "cohen" and any(target.prompting == "routed" for target in targets):
        raise invalid("procedure", "staged, by which a routed certificate is made")
    return targets


async def _prepare(
    services: Services, asked: Asked, card: ModelCard, index: int
) -> Prepared | ImageRefused:
    data = await asked.images[index]()
    decode = partial(_decode, services, data, asked.fields, card)
    try:
        image, described = await to_thread.run_sync(decode, limiter=services.decoding)
    except ImageError as error:
        return ImageRefused(error, index=index, count=len(asked.images))
    return index, image, described


def _decode(
    services: Services, data: bytes, form: CertifyFields, card: ModelCard
) -> tuple[Image, InputImage]:
    return prepare_image(
        data, card, frame=form.frame, window=form.requested_window, decoder=services.decoder
    )


def _create_job(
    form: CertifyFields,
    card: ModelCard,
    targets: tuple[Target, ...],
    images: int,
    caller: Caller,
    batch_id: str | None,
    now: datetime,
    image: InputImage,
    image_index: int,
) -> CertificationJob:
    """The job of one image.

    Where alpha is divided among the images it is divided among all that were sent: of those that
    can be used, the claims then hold together all the more.
    """
    return CertificationJob(
        id=uuid4().hex,
        batch_id=batch_id,
        owner=caller.key_id,
        image_index=image_index,
        submitted_at=now,
        request_id=find_request_id(),
        request=CertifyRequest(
            input=image,
            model=ModelRef(id=card.id, sha256=card.sha256),
            targets=targets,
            sigmas=tuple(form.sigma),
            procedure=form.requested_procedure,
            alpha=form.alpha,
            joint=form.joint,
            images=images,
            attempt=form.attempt,
        ),
    )


def _enqueue(
    services: Services,
    caller: Caller,
    pairs: Sequence[tuple[CertificationJob, Image]],
    refused: Sequence[ImageRefused],
    claim: Claim | None,
) -> None:
    settings, batch_id = services.settings, pairs[0][0].batch_id

    def alongside(pipeline: Pipeline) -> None:
        if refused:
            assert batch_id is not None, "one image that is refused is no job"
            ttl_s = settings.certificate_ttl_s
            records.put_refused(pipeline, batch_id, [one.of_image for one in refused], ttl_s=ttl_s)
        if claim is not None:
            claim.keep(pipeline, [job.id for job, _ in pairs], ttl_s=settings.idempotency_ttl_s)

    jobs, samples = [job.id for job, _ in pairs], sum(j.request.samples_total for j, _ in pairs)
    with reserve(services.redis, caller, certify=jobs, samples=samples):
        services.audit.record("certify.accepted", **describe_jobs([job for job, _ in pairs]))
        ttl_s = settings.certificate_ttl_s
        await_outcomes(services.audit, services.redis, QUEUE_NAME, jobs, ttl_s=ttl_s)
        queue.submit(
            services.redis,
            pairs,
            image_ttl_s=settings.image_ttl_s,
            job_ttl_s=settings.certificate_ttl_s,
            watch=(lambda _: None) if claim is None else claim.watch,
            alongside=alongside,
        )
