"""What HTTP shows about a prompt that is being learned."""

from dataclasses import asdict
from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from app.server.answers.schemas import RefusedProblem, Schema
from models.prompts.learning_settings import LearningSettings
from worker.contract import Failure, ModelRef
from worker.contract.learning import LearnedEpoch, LearningJob


class PromptJobLinks(Schema):
    """Where the rest is."""

    self: str
    prompt: str


class PromptJob(Schema):
    """A prompt that is learned, and how far that is.

    `failure` says why there is no prompt, where the status is `failed`; `prompt_sha256` which one
    there is, where it is `finished`. `left_out`, if there are any, counts files,
    such as Thumbs.db, that were sent among the images and are none. `refused`, if there are any,
    are images that could not be used, and others of their classes were used instead; of a zip,
    `image_index` counts files in order of their paths.
    """

    id: str
    status: Literal["queued", "running", "finished", "failed", "cancelled"]
    submitted_at: datetime
    prompt_id: str
    prompt_sha256: str | None = None
    model: ModelRef
    class_names: tuple[str, ...]
    images: int
    left_out: int = Field(default=0, exclude_if=lambda count: not count)
    refused: tuple[RefusedProblem, ...] = Field(default=(), exclude_if=lambda images: not images)
    settings: LearningSettings
    epochs_done: int
    curve: tuple[LearnedEpoch, ...]
    failure: Failure | None = None
    links: PromptJobLinks


def prompt_job(
    job: LearningJob, *, status: str, curve: tuple[LearnedEpoch, ...], **ended: Any
) -> PromptJob:
    """A learning job as it stands now."""
    request = job.request
    return PromptJob(
        id=job.id,
        status=status,
        submitted_at=job.submitted_at,
        prompt_id=request.prompt_id,
        model=request.model,
        class_names=request.class_names,
        images=len(request.images),
        left_out=job.left_out,
        refused=tuple(map(RefusedProblem.of, job.refused)),
        settings=LearningSettings(**asdict(request.settings)),
        epochs_done=len(curve),
        curve=curve,
        links=PromptJobLinks(self=f"/prompt-jobs/{job.id}", prompt=f"/prompts/{request.prompt_id}"),
        **ended,
    )
