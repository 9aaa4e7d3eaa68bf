"""What crosses Redis when a prompt is learned. No torch."""

import hashlib
from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from models.catalogue.cards import Sha256
from models.catalogue.texts import ClassNames
from models.prompts.cards import PromptId
from models.prompts.learning_settings import LearningSettings
from worker.contract.job import ANONYMOUS, Failure, Owner, RefusedImage
from worker.contract.quantities import Contract
from worker.contract.request import ModelRef, canonical_bytes
from worker.contract.targets import MAX_CLASS_NAMES

MAX_LEARNING_IMAGES = 4096
MAX_EPOCHS = 500


class LabelledImage(Contract):
    """A stored image and its class, an index into the class names."""

    sha256: Sha256
    class_index: int = Field(ge=0, lt=MAX_CLASS_NAMES)


class LearningRequest(Contract):
    """What is learned from what: the images are `settings.shots` of each class, `size` pixels."""

    prompt_id: PromptId
    model: ModelRef
    class_names: Annotated[ClassNames, Field(max_length=MAX_CLASS_NAMES)]
    settings: LearningSettings
    size: int = Field(ge=1, le=2048)
    images: tuple[LabelledImage, ...] = Field(min_length=2, max_length=MAX_LEARNING_IMAGES)


class LearningJob(Contract):
    """A prompt to learn, in the queue.

    `owner` is who may see it and, unless it is `shared` with everyone, its prompt. `left_out`
    counts files, such as Thumbs.db, that were sent among the images and are none. `refused` are
    images that could not be used; others of their classes replaced them.
    """

    schema_version: Literal[1] = 1
    id: str = Field(pattern=r"^[0-9a-f]{32}$")
    owner: Owner = ANONYMOUS
    shared: bool = True
    request: LearningRequest
    submitted_at: datetime
    left_out: int = Field(default=0, ge=0, exclude_if=lambda count: not count)
    refused: tuple[RefusedImage, ...] = Field(default=(), exclude_if=lambda images: not images)

    @property
    def prompt_owner(self) -> str | None:
        """Who may see the prompt; None: everyone."""
        return None if self.shared else self.owner

    @property
    def request_sha256(self) -> str:
        """Identifies what is asked and by whom: equal ones learn the same prompt."""
        asked = {
            "owner": self.owner,
            "shared": self.shared,
            "request": self.request.model_dump(mode="json"),
        }
        return hashlib.sha256(canonical_bytes(asked)).hexdigest()


class LearnedEpoch(Contract):
    """A point of the learning curve: means over the noisy images of one epoch, counted from 1."""

    number: int = Field(ge=1)
    loss: float = Field(allow_inf_nan=False)
    accuracy: float = Field(ge=0, le=1)
    seconds: float = Field(ge=0)


class FinishedLearning(Contract):
    """The prompt is stored; every worker can use it."""

    status: Literal["finished"] = "finished"
    prompt_sha256: Sha256


class FailedLearning(Contract):
    """Ended without a prompt."""

    status: Literal["failed"] = "failed"
    failure: Failure


class CancelledLearning(Contract):
    """Somebody wished it to end; whatever still computes stops within seconds."""

    status: Literal["cancelled"] = "cancelled"


LearningResult = Annotated[
    FinishedLearning | FailedLearning | CancelledLearning, Field(discriminator="status")
]
