"""A job in the queue: its tasks, whose it is, how far it is and why it failed."""

from datetime import datetime
from typing import Annotated, Literal, get_args

from pydantic import Field

from worker.contract.quantities import Contract
from worker.contract.request import CertifyRequest

QUEUE_NAME = "certify"
TASK_CERTIFY = "worker.tasks.certify_image"
TASK_COUNT_RANGES = "worker.tasks.count_ranges"
TASK_WITNESS = "worker.tasks.find_witness"
LEARNING_QUEUE_NAME = "learn"
TASK_LEARN = "worker.learning.learn"
TASKS = frozenset({TASK_CERTIFY, TASK_COUNT_RANGES, TASK_WITNESS, TASK_LEARN})

Priority = Literal["urgent", "normal", "batch"]
"""In which order jobs are taken. It changes no certificate, and is no part of the request."""
PRIORITIES: tuple[Priority, ...] = get_args(Priority)

ANONYMOUS = "anonymous"
"""The owner of what was sent while no keys were configured."""

Owner = Annotated[str, Field(pattern=r"^[a-z0-9-]{1,64}$")]
"""The id of an API key, never the key."""


class CertificationJob(Contract):
    """One image in the queue, with everything asked of it.

    `owner` is the key that may see it. It is not part of the request, so it changes no certificate.
    `image_index` says which of the images that were sent together this one is. `continues` is the
    certification whose samples this one goes on from. `reference` is what its sender calls it; like
    the owner, it is no part of the request, and it is never logged. With `witness` one is looked
    for when it has finished, which is no part of the request either.
    """

    schema_version: Literal[1] = 1
    id: str = Field(pattern=r"^[0-9a-f]{32}$")
    batch_id: str | None = Field(default=None, pattern=r"^[0-9a-f]{32}$")
    owner: Owner = ANONYMOUS
    priority: Priority = Field(default="normal", exclude_if=lambda value: value == "normal")
    image_index: int = Field(default=0, ge=0)
    request: CertifyRequest
    submitted_at: datetime
    request_id: str | None = Field(
        default=None, pattern=r"^[0-9a-f]{32}$", description="Of the HTTP request, for the log."
    )
    continues: str | None = Field(
        default=None, pattern=r"^[0-9a-f]{32}$", exclude_if=lambda value: value is None
    )
    reference: str | None = Field(
        default=None, min_length=1, max_length=100, exclude_if=lambda value: value is None
    )
    witness: bool = Field(default=False, exclude_if=lambda value: not value)


class RefusedImage(Contract):
    """An image of a batch that could not be used; the others are certified."""

    image_index: int = Field(ge=0)
    status: int
    code: str
    detail: str
    frames: int | None = None


class LiveVotes(Contract):
    """The votes of one certificate so far, to be watched while it is counted. Not a claim.

    The bounds are one-sided Clopper-Pearson at the certificate's alpha, as if these votes were all
    there ever will be: of somebody who looks at many moments, one can be false far more often than
    alpha says. The certificate's own bounds are made at planned looks alone, and divide alpha
    among them.
    """

    sigma: float
    prompting: str
    target_index: int = Field(ge=0, description="Which of the request's label sets, from 0.")
    n: int = Field(ge=0, description="Samples so far, ambiguous ones included.")
    counts: tuple[int, ...]
    ambiguous: int = Field(ge=0)
    p_a_lower: float = Field(ge=0, le=1, description="Of the class with the most votes so far.")
    p_b_upper: float = Field(ge=0, le=1, description="Of every other class.")


class Progress(Contract):
    """Samples counted so far, over all noise levels, and the votes of each certificate."""

    samples_done: int = Field(ge=0)
    samples_total: int = Field(ge=1)
    updated_at: datetime
    live: tuple[LiveVotes, ...] = ()


class Failure(Contract):
    """Why a certification ended without certificates: a stable code and a sentence."""

    code: str
    detail: str
