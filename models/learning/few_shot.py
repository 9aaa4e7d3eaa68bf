"""Few-shot prompt learning: context vectors from a few labelled images (PromptSmooth 3.1).

    min over ctx of E[cross-entropy(logit_scale · cos(image(x + noise), text(ctx, names)), y)]

`models.learning.step` takes the step. The noise level is drawn for each image from a mixture, so
that one prompt serves every sigma. Both towers are frozen; gradients pass only through the text
tower.
"""

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.catalogue.texts import check_class_names
from models.datasets.training_images import TrainingImages, count_classes
from models.learning.augmentation import sample_crops
from models.learning.state import Epoch, LearningState, create_state, restore, write_checkpoint
from models.learning.step import take_step
from models.prompts.learning_settings import LearningSettings
from models.prompts.prompt import Prompt
from models.vlm.base_classifier import check_read_apart
from models.vlm.vlm import VLM


class Diverged(ValueError):
    """The loss is not finite."""

    def __init__(self, epoch: int, learning_rate: float) -> None:
        super().__init__(
            f"The loss of epoch {epoch} is not finite. Choose a learning rate below "
            f"{learning_rate:g}."
        )


@dataclass(frozen=True, kw_only=True)
class Learned:
    """A learned prompt and its learning curve."""

    prompt: Prompt
    curve: tuple[Epoch, ...]


def learn_prompt(
    vlm: VLM,
    images: TrainingImages,
    class_names: Sequence[str],
    settings: LearningSettings,
    *,
    resume: bytes | None = None,
    on_epoch: Callable[[Epoch, bytes], None] = lambda _epoch, _checkpoint: None,
    clock: Callable[[], float] = time.monotonic,
) -> Learned:
    """Returns the prompt after all epochs.

    The result is a function of the model, images, class names and settings, for one device and
    thread count. Not a bit of it depends on what ran before, on whether the learning was resumed or
    on torch's global generator. An exception from `on_epoch` ends the learning and is passed on.

    Args:
        vlm: the frozen model.
        images: `settings.shots` images of each class, at the model's size.
        class_names: in the order of the images' classes.
        settings: how to learn.
        resume: a checkpoint from an earlier call of `on_epoch`, to resume from.
        on_epoch: called after each epoch with its results and a checkpoint.
        clock: returns seconds, for the curve.

    Raises:
        ValueError: the images or class names do not fit, the model takes no context vectors, reads
            two class names alike, or a prompt is too long for it.
        CheckpointUnusable: see `models.learning.state`.
        Diverged: the learning rate is too large.
    """
    names = check_class_names(tuple(class_names))
    _check_images(images, names, settings, vlm)
    with torch.inference_mode(False), torch.enable_grad():  # whatever mode the caller is in
        state = create_state(vlm, settings)
        task = _task_sha256(vlm, images, names, settings)
        if resume is not None:
            restore(state, resume, task)
        texts = [name + settings.suffix for name in names]
        check_read_apart(vlm, names, texts, n_ctx=len(state.ctx))
        while len(state.curve) < settings.epochs:
            state.curve.append(_run_epoch(vlm, images, texts, settings, state, clock))
            on_epoch(state.curve[-1], write_checkpoint(state, task))
    return Learned(prompt=state.create_prompt(settings.suffix), curve=tuple(state.curve))


def _check_images(
    images: TrainingImages, names: Sequence[str], settings: LearningSettings, vlm: VLM
) -> None:
    counts = count_classes(images.classes, len(names))
    if counts != [settings.shots] * len(names):
        raise ValueError(
            f"Expected {settings.shots} images of each of {len(names)} classes; got {counts}."
        )
    if images.size != vlm.card.preprocessing.size:
        raise ValueError(
            f"The model {vlm.card.id} takes images of {vlm.card.preprocessing.size} pixels; "
            f"got images of {images.size}."
        )


def _task_sha256(
    vlm: VLM, images: TrainingImages, names: Sequence[str], settings: LearningSettings
) -> str:
    """Identifies the task; a checkpoint of any other task cannot be used."""
    task = {
        "model": vlm.card.sha256,
        "images": images.sha256,
        "class_names": list(names),
        "settings": settings.describe(),
    }
    return hashlib.sha256(json.dumps(task, sort_keys=True).encode()).hexdigest()


def _run_epoch(
    vlm: VLM,
    images: TrainingImages,
    texts: Sequence[str],
    settings: LearningSettings,
    state: LearningState,
    clock: Callable[[], float],
) -> Epoch:
    """Trains on every image once, in a new order and with new crops and noise."""
    started, number = clock(), len(state.curve) + 1
    loss_sum, right = 0.0, 0
    for group in state.optimizer.param_groups:
        group["lr"] = settings.get_learning_rate(number - 1)
    for pixels, classes in _sample_batches(images, settings, state.generator):
        features, labels = _encode(vlm, pixels), classes.to(vlm.device)  # (B, D), (B,)
        step = take_step(vlm, state, texts, features, labels, settings)
        if not math.isfinite(step.loss):
            raise Diverged(number, settings.learning_rate)
        loss_sum += step.loss * len(classes)
        right += step.right
    return Epoch(
        number=number,
        loss=loss_sum / len(images),
        accuracy=right / len(images),
        seconds=clock() - started,
    )


def _sample_batches(
    images: TrainingImages, settings: LearningSettings, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields noisy pixels, int16 (B, 3, S, S), and classes (B,); the last batch may be smaller."""
    levels = torch.tensor(settings.noise_levels)
    order = torch.randperm(len(images), generator=generator)
    for rows in order.split(settings.batch_size):
        pixels = torch.tensor(images.pixels[rows.numpy()]).float() / 255  # (B, 3, S, S)
        if settings.augment:
            pixels = sample_crops(pixels, generator, smallest_area=settings.smallest_crop)
        sigmas = levels[torch.randint(len(levels), (len(rows),), generator=generator)]  # (B,)
        noise = sigmas[:, None, None, None] * torch.randn(pixels.shape, generator=generator)
        noisy = (255 * (pixels + noise)).round().to(torch.int16)  # on the grid, not clipped
        yield noisy, torch.tensor(images.classes[rows.numpy()])


@torch.no_grad()
def _encode(vlm: VLM, pixels: Tensor) -> Tensor:
    """Returns image features, float32 (B, D), in batches no larger than the card allows."""
    most = vlm.card.batch_size["cuda" if vlm.device.type == "cuda" else "cpu"]
    parts = [vlm.encode_images(part) for part in pixels.to(vlm.device).split(most)]
    return torch.cat(parts)
