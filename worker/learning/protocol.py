"""The messages between a work-horse and its learner, over pipes. Must not import torch.

An order is one line of JSON followed by the pixels. Each report is one line of JSON.
"""

import base64
import math
from dataclasses import dataclass
from typing import IO, Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, TypeAdapter

from models.prompts.cards import PromptCard
from worker.contract import Contract, Failure
from worker.contract.learning import LearnedEpoch, LearningRequest
from worker.contract.prompt import EncodedPrompt


class _Head(Contract):
    request: LearningRequest
    resume: str | None


@dataclass(frozen=True, kw_only=True, eq=False)
class LearningOrder:
    """What to learn, the images to learn from, uint8 (N, 3, S, S), and the checkpoint, if any."""

    request: LearningRequest
    pixels: npt.NDArray[np.uint8]
    resume: bytes | None


class EpochReport(Contract):
    """An epoch is done."""

    kind: Literal["epoch"] = "epoch"
    epoch: LearnedEpoch
    checkpoint: str

    def decode_checkpoint(self) -> bytes:
        """The checkpoint after the epoch."""
        return base64.b64decode(self.checkpoint, validate=True)


class AnewReport(Contract):
    """The checkpoint could not be used; the first epoch begins."""

    kind: Literal["anew"] = "anew"
    reason: str


class LearnedReport(Contract):
    """All epochs are done."""

    kind: Literal["learned"] = "learned"
    card: PromptCard
    prompt: EncodedPrompt


class FailureReport(Contract):
    """The prompt cannot be learned. A retry would not help."""

    kind: Literal["failure"] = "failure"
    failure: Failure


Report = Annotated[
    EpochReport | AnewReport | LearnedReport | FailureReport, Field(discriminator="kind")
]
_REPORT: TypeAdapter[Report] = TypeAdapter(Report)


def write_order(stream: IO[bytes], order: LearningOrder) -> None:
    """Sends an order."""
    resume = None if order.resume is None else base64.b64encode(order.resume).decode()
    stream.write(_Head(request=order.request, resume=resume).model_dump_json().encode() + b"\n")
    stream.write(order.pixels.tobytes())
    stream.flush()


def read_order(stream: IO[bytes]) -> LearningOrder:
    """Receives an order. Raises ValueError if the stream holds no order or ends too early."""
    head = _Head.model_validate_json(stream.readline())
    size = head.request.size
    shape = (len(head.request.images), 3, size, size)
    pixels = np.frombuffer(stream.read(math.prod(shape)), dtype=np.uint8).reshape(shape)
    resume = None if head.resume is None else base64.b64decode(head.resume, validate=True)
    return LearningOrder(request=head.request, pixels=pixels, resume=resume)


def parse_report(line: bytes) -> Report:
    """The report on a line. Raises ValueError if the line is not a report."""
    return _REPORT.validate_json(line)
