"""From a form to jobs: everything is checked before anything is queued."""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from uuid import uuid4

from anyio import to_thread

from app.deps import Services
from app.errors import ImageRefused, ModelUnknown, invalid
from app.forms import PARAMETERS, CertifyForm
from app.middleware import find_request_id
from app.model_hosts import require_host
from app.security import Caller
from app.settings import AppSettings
from app.targets import TargetInvalid, create_targets
from models.cards import ModelCard
from models.catalogue import Catalogue, ModelNotAdded, UnknownModel
from models.imaging import ImageError
from worker import prompts_store, queueing
from worker.contract import (
    CertificationJob,
    CertifyRequest,
    InputImage,
    ModelRef,
    Target,
)
from worker.images_store import Image
from worker.intake import prepare_image

Prepared = tuple[Image, InputImage]


async def submit(services: Services, form: CertifyForm, caller: Caller) -> list[CertificationJob]:
    """Queues one job per image: all of them, or none.

    Raises:
        Problem: the form asks for something that this service does not do.
        redis.exceptions.RedisError: the queue is away.
    """
    card = find_card(services.catalogue, form.model or services.settings.default_model)
    check_limits(form, services.settings)
    await to_thread.run_sync(require_host, services.redis, card)
    targets = await to_thread.run_sync(_find_targets, services, form, card, caller)
    prepared = [await _prepare(services, form, card, index) for index in range(len(form.image))]
    images = [described for _, described in prepared]
    jobs = create_jobs(form, card, targets, images, owner=caller.key_id)
    pairs = [(job, image) for job, (image, _) in zip(jobs, prepared, strict=True)]
    await to_thread.run_sync(_enqueue, services, pairs)
    return jobs


def find_card(catalogue: Catalogue, model_id: str) -> ModelCard:
    """The card of a model, or the problem that there is none."""
    try:
        return catalogue.get(model_id)
    except UnknownModel as unknown:
        known = tuple(card.id for card in catalogue.list())
        text = f"There is no such model; those known here: {', '.join(known) or 'none'}."
        if isinstance(unknown, ModelNotAdded):
            text = str(unknown)
        raise ModelUnknown(text, known=known) from None


def check_limits(form: CertifyForm, settings: AppSettings) -> None:
    """Refuses what is well formed but more than the operator allows."""
    checks = (
        ("image", len(form.image), settings.max_images, "at most {} images"),
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
    services: Services, form: CertifyForm, card: ModelCard, caller: Caller
) -> tuple[Target, ...]:
    """What the image is compared with, prompts by their digests."""
    try:
        targets = create_targets(
            form.requested_targets,
            card,
            partial(prompts_store.find_card, services.redis, view=caller.view),
            companions=form.targets is None,
        )
    except TargetInvalid as error:
        raise invalid("targets" if form.targets else error.field, error.expected) from None
    if form.procedure == "cohen" and any(target.prompting == "routed" for target in targets):
        raise invalid("procedure", "staged, by which a routed certificate is made")
    return targets


async def _prepare(services: Services, form: CertifyForm, card: ModelCard, index: int) -> Prepared:
    data = await form.image[index].read()
    try:
        return await to_thread.run_sync(_decode, data, form, card, limiter=services.decoding)
    except ImageError as error:
        raise ImageRefused(error, index=index, count=len(form.image)) from None


def _decode(data: bytes, form: CertifyForm, card: ModelCard) -> Prepared:
    return prepare_image(data, card, frame=form.frame, window=form.requested_window)


def create_jobs(
    form: CertifyForm,
    card: ModelCard,
    targets: tuple[Target, ...],
    images: Sequence[InputImage],
    *,
    owner: str,
) -> list[CertificationJob]:
    """One job per image; several share a batch."""
    batch_id = uuid4().hex if len(images) > 1 else None
    now = datetime.now(UTC)
    return [
        CertificationJob(
            id=uuid4().hex,
            batch_id=batch_id,
            owner=owner,
            request=_create_request(form, card, targets, image),
            submitted_at=now,
            request_id=find_request_id(),
        )
        for image in images
    ]


def _create_request(
    form: CertifyForm, card: ModelCard, targets: tuple[Target, ...], image: InputImage
) -> CertifyRequest:
    return CertifyRequest(
        input=image,
        model=ModelRef(id=card.id, sha256=card.sha256),
        targets=targets,
        sigmas=tuple(form.sigma),
        procedure=form.requested_procedure,
        alpha=form.alpha,
        joint=form.joint,
        images=len(form.image),
        attempt=form.attempt,
    )


def _enqueue(services: Services, pairs: Sequence[tuple[CertificationJob, Image]]) -> None:
    queueing.submit(
        services.redis,
        pairs,
        image_ttl_s=services.settings.image_ttl_s,
        job_ttl_s=services.settings.certificate_ttl_s,
    )
