"""The learner, python -m worker.learning.process: learns one prompt for the work-horse above it.

Apart from the engine, it is the only process of a worker host with torch. It reads an order from
standard input and writes reports to standard output. It ends with its work-horse, which alone uses
Redis.
"""

import base64
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import IO

import numpy as np

from models.catalogue import UnknownModel, load_catalogue
from models.catalogue.weights import WeightsError
from models.datasets.training_images import TrainingImages
from models.learning.card import create_learned_card
from models.learning.few_shot import Learned, learn_prompt
from models.learning.state import CheckpointUnusable, Epoch
from models.loading.loading import load_vlm
from models.vlm.vlm import VLM
from worker.contract import Failure
from worker.contract.learning import LearnedEpoch, LearningRequest
from worker.contract.prompt import EncodedPrompt
from worker.engine.runner.machine import choose_device, set_threads
from worker.learning.protocol import (
    AnewReport,
    EpochReport,
    FailureReport,
    LearnedReport,
    LearningOrder,
    Report,
    read_order,
)
from worker.processes.logs import configure_logging
from worker.processes.start import read_settings
from worker.settings import WorkerSettings

_MODEL_CHANGED = Failure(
    code="model_changed",
    detail="The model's weights on the worker are not those that the request was made for.",
)


def run_order(
    order: LearningOrder, settings: WorkerSettings, report: Callable[[Report], None]
) -> None:
    """Learns a prompt. Reports each epoch and, at the end, the prompt or the failure."""
    try:
        vlm = _load(order.request, settings)
    except (UnknownModel, WeightsError, NotADirectoryError) as error:
        return report(_failed("model_not_served", error))
    if vlm.card.sha256 != order.request.model.sha256:
        return report(FailureReport(failure=_MODEL_CHANGED))
    images = _create_images(order)
    try:
        learned = _learn(vlm, images, order, report)
    except ValueError as error:  # learning diverged, or the prompt is too long for the model
        return report(_failed("learning_impossible", error))
    card = create_learned_card(
        learned,
        prompt_id=order.request.prompt_id,
        vlm=vlm,
        images=images,
        class_names=order.request.class_names,
        settings=order.request.settings,
        created_at=datetime.now(UTC),
    )
    return report(LearnedReport(card=card, prompt=EncodedPrompt.of(learned.prompt)))


def _load(request: LearningRequest, settings: WorkerSettings) -> VLM:
    catalogue = load_catalogue(settings.models)
    card = catalogue.get(request.model.id)
    return load_vlm(card, catalogue.folder(card.id), choose_device(settings.device))


def _create_images(order: LearningOrder) -> TrainingImages:
    classes = np.array([image.class_index for image in order.request.images], dtype=np.int64)
    return TrainingImages(pixels=order.pixels, classes=classes)


def _learn(
    vlm: VLM, images: TrainingImages, order: LearningOrder, report: Callable[[Report], None]
) -> Learned:
    """Continues from the checkpoint, or starts anew if it cannot be used."""

    def on_epoch(epoch: Epoch, checkpoint: bytes) -> None:
        text = base64.b64encode(checkpoint).decode()
        report(EpochReport(epoch=LearnedEpoch(**asdict(epoch)), checkpoint=text))

    def learn(resume: bytes | None) -> Learned:
        names, settings = order.request.class_names, order.request.settings
        return learn_prompt(vlm, images, names, settings, resume=resume, on_epoch=on_epoch)

    try:
        return learn(order.resume)
    except CheckpointUnusable as error:
        report(AnewReport(reason=str(error)))
        return learn(None)


def _failed(code: str, error: Exception) -> FailureReport:
    return FailureReport(failure=Failure(code=code, detail=str(error)))


def _take_stdout() -> IO[bytes]:
    """Reserves standard output for reports. Whatever a library prints goes to standard error."""
    reports = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return reports


def main() -> int:
    """Learns the prompt of the order on standard input."""
    configure_logging()
    settings = read_settings()
    set_threads(settings.threads)
    with _take_stdout() as stream:

        def report(each: Report) -> None:
            stream.write(each.model_dump_json().encode() + b"\n")
            stream.flush()

        run_order(read_order(sys.stdin.buffer), settings, report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
