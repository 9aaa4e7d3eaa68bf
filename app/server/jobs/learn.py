"""Turns the form of POST /prompts/learn into a job and its prepared images."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from uuid import uuid4

import numpy as np
from anyio import to_thread

from app.request.targets import check_name_lengths
from app.server.access.caller import Caller
from app.server.access.quotas import reserve
from app.server.answers.problems import ImageRefused, PromptIdTaken, TrainingImagesInvalid, invalid
from app.server.audit_log.entries import describe_learning
from app.server.audit_log.outcomes import await_outcomes
from app.server.forms.labelled_files import (
    SentFile,
    SentFiles,
    check_count,
    open_zip,
    read_limited,
)
from app.server.forms.learning import LearnForm
from app.server.jobs.capacity.model_hosts import require_card, require_host
from app.server.jobs.services import Services
from app.server.jobs.webhooks.webhooks import create_callback
from models.catalogue.cards import ModelCard
from models.catalogue.names import clean_name
from models.catalogue.text_width import explain_no_context, find_text_width
from models.catalogue.texts import check_new_class_names
from models.datasets.image_folder import find_class_names, order_classes
from models.datasets.junk import is_junk
from models.datasets.training_images import Shots
from models.imaging import ImageError
from models.prompts.learning_settings import LearningSettings, create_learning_settings
from worker.contract import LEARNING_QUEUE_NAME, MAX_CLASS_NAMES, InputImage, ModelRef
from worker.contract.image import Image
from worker.contract.learning import FinishedLearning, LabelledImage, LearningJob, LearningRequest
from worker.learning import store as learning_store
from worker.learning.queue import get_status, submit_learning
from worker.prepare import prepare_image
from worker.store import keyspace, prompts
from worker.store.jobs.callbacks import note_while_open


async def submit_learn(services: Services, form: LearnForm, caller: Caller) -> LearningJob:
    """Queues a learning job with the images that the seed selects, decoded and prepared.

    An identical request returns the same job, as long as that job can still deliver its prompt.

    Raises:
        Problem: the form asks for something that cannot be learned; nothing is queued.
        redis.exceptions.RedisError: the queue is away.
    """
    card = require_card(services.catalogue, form.model or services.settings.default_model)
    if find_text_width(card, services.catalogue.folder(card.id)) == 0:
        raise invalid("model", explain_no_context(card))
    await to_thread.run_sync(require_host, services.redis, card)
    await to_thread.run_sync(_check_form_of_id, form.id)
    url = await to_thread.run_sync(services.webhooks.choose_url, caller.key_id, form.callback_url)
    check_name_lengths(form.class_name or (), most=services.settings.max_class_name_chars)
    sent = await to_thread.run_sync(_open, form, services.settings.max_learning_images)
    files = sent.files
    names = order_classes(file.class_name for file in files)
    class_names, settings = _check_names(form, names), create_settings(form, card)
    labelled = sorted(((file, names.index(file.class_name)) for file in files), key=lambda x: x[1])
    shots = choose([index for _, index in labelled], settings)
    prepared = await _prepare(services, card, [file for file, _ in labelled], shots)
    images = tuple(
        LabelledImage(sha256=described.sha256, class_index=labelled[at][1])
        for at, (_, described) in zip(shots.chosen, prepared, strict=True)
    )
    request = LearningRequest(
        prompt_id=form.id,
        model=ModelRef(id=card.id, sha256=card.sha256),
        class_names=class_names,
        settings=settings,
        size=card.preprocessing.size,
        images=images,
    )
    job = LearningJob(
        id=uuid4().hex,
        owner=caller.key_id,
        shared=caller.view is None,
        request=request,
        submitted_at=datetime.now(UTC),
        left_out=sent.left_out,
        refused=tuple(
            error.of_image for error in shots.unusable.values() if isinstance(error, ImageRefused)
        ),
    )
    if (earlier := await to_thread.run_sync(_find_earlier, services, job)) is not None:
        await to_thread.run_sync(_tell_instead, services, earlier, form.callback_url)
        return earlier
    await to_thread.run_sync(_check_id, services, form.id)
    stored = [image for image, _ in prepared]
    await to_thread.run_sync(_enqueue, services, caller, job, stored, url)
    return job


def _find_earlier(services: Services, job: LearningJob) -> LearningJob | None:
    """An earlier job for the same request that is under way, or whose prompt is still stored."""
    redis = services.redis
    earlier = learning_store.find_equal(redis, job)
    if earlier is None:
        return None
    match get_status(redis, earlier.id):
        case "queued" | "running":
            return earlier
        case "finished":
            result = learning_store.find_result(redis, earlier.id)
            card = prompts.find_card(redis, job.request.prompt_id, view=job.prompt_owner)
            digest = result.prompt_sha256 if isinstance(result, FinishedLearning) else None
            return earlier if card is not None and card.sha256 == digest else None
    return None


def _tell_instead(services: Services, earlier: LearningJob, url: str | None) -> None:
    """Has the end of an earlier job told at the address that the request sent again names."""
    if url is not None:
        key, ttl_s = keyspace.learning_result(earlier.id), services.settings.certificate_ttl_s
        note_while_open(services.redis, create_callback(earlier, url), key, ttl_s=ttl_s)


def choose(classes: Sequence[int], settings: LearningSettings) -> Shots:
    """The choice of the images to learn from, by their class indices.

    Raises:
        TrainingImagesInvalid: a class has fewer images than shots.
    """
    try:
        return Shots(np.array(classes, dtype=np.int64), settings.shots, settings.seed)
    except ValueError as error:
        raise TrainingImagesInvalid(str(error)) from None


def create_settings(form: LearnForm, card: ModelCard) -> LearningSettings:
    """The learning settings: the preset, overridden by the form."""
    try:
        settings = create_learning_settings(form.preset, form.template or card.template)
    except ValueError:
        raise invalid("template", "words before {}: the vectors replace them") from None
    settings = replace(settings, shots=form.shots, epochs=form.epochs, seed=form.seed)
    if form.noise_level is not None:
        settings = replace(settings, noise_levels=tuple(form.noise_level))
    if form.learning_rate is not None:
        settings = replace(settings, learning_rate=form.learning_rate)
    return settings


def _check_form_of_id(prompt_id: str) -> None:
    try:
        prompts.check_id(prompt_id)
    except prompts.PromptIdReserved:
        expected = "an id that neither begins with zero-shot- nor is 64 hexadecimal digits"
        raise invalid("id", expected) from None


def _check_id(services: Services, prompt_id: str) -> None:
    if prompts.is_taken(services.redis, prompt_id):
        raise PromptIdTaken(
            "The id is taken: it names a prompt, or it named one that was removed. Use that "
            "prompt, or choose another id."
        )


def _open(form: LearnForm, most: int) -> SentFiles:
    if (form.zip is None) == (form.image is None):
        raise invalid("zip", "either zip, or image with image_class, and not both")
    if form.zip is not None:
        if form.image_class is not None:
            raise invalid("image_class", "no value: the folders of the zip are the classes")
        return open_zip(form.zip.file, most=most)
    images, classes = form.image or [], form.image_class or []
    if len(images) != len(classes):
        raise invalid("image_class", f"one class for each of {len(images)} images")
    check_count(len(images), most)
    files = [
        SentFile(
            place=place, class_name=clean_name(name), read=partial(read_limited, images[place].file)
        )
        for place, name in enumerate(classes)
        if not is_junk(images[place].filename or "")
    ]
    return SentFiles(files=files, left_out=len(images) - len(files))


def _check_names(form: LearnForm, names: tuple[str, ...]) -> tuple[str, ...]:
    """The class names of the prompt: from the form, otherwise the folder names as words."""
    if not 2 <= len(names) <= MAX_CLASS_NAMES:
        raise TrainingImagesInvalid(
            f"Expected images of 2 to {MAX_CLASS_NAMES} classes, got {len(names)}."
        )
    if form.class_name is not None and len(form.class_name) != len(names):
        raise invalid("class_name", f"one name for each of {len(names)} classes")
    found = form.class_name or find_class_names(names)
    if found is None:
        raise invalid("class_name", "a name for each class: numbers mean nothing to a text encoder")
    try:
        return check_new_class_names(found)
    except ValueError:
        raise TrainingImagesInvalid(
            "Expected class names that differ in more than case, spaces and characters that look "
            "alike, none blank or with characters that nobody sees."
        ) from None


async def _prepare(
    services: Services, card: ModelCard, files: Sequence[SentFile], shots: Shots
) -> list[tuple[Image, InputImage]]:
    """The model's 8-bit inputs, described. Holds the bytes of one file in memory at a time.

    Raises:
        ImageRefused: an image cannot be used, and no other can replace it.
    """

    def prepare(file: SentFile) -> tuple[Image, InputImage]:
        return prepare_image(file.read(), card, decoder=services.decoder)

    read = {}
    for at in shots:
        try:
            read[at] = await to_thread.run_sync(prepare, files[at], limiter=services.decoding)
        except ImageError as error:
            shots.replace(at, ImageRefused(error, index=files[at].place, count=len(files)))
    return [read[at] for at in shots.chosen.tolist()]


def _enqueue(
    services: Services,
    caller: Caller,
    job: LearningJob,
    images: Sequence[Image],
    callback_url: str | None,
) -> None:
    samples = job.request.settings.epochs * len(images)
    callback = None if callback_url is None else create_callback(job, callback_url)
    with reserve(services.redis, caller, learn=[job.id], samples=samples):
        services.audit.record("learn.accepted", **describe_learning(job))
        ttl_s = services.settings.certificate_ttl_s
        await_outcomes(services.audit, services.redis, LEARNING_QUEUE_NAME, [job.id], ttl_s=ttl_s)
        submit_learning(
            services.redis,
            job,
            images,
            image_ttl_s=services.settings.image_ttl_s,
            job_ttl_s=services.settings.certificate_ttl_s,
            callback=callback,
        )
