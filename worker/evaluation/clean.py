"""Accuracy of base classifiers without noise, at the model's own batch shape."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

import numpy as np
import torch

from models.datasets.files import LabelledFile
from models.prompts.prompt import Prompt
from models.vlm.base_classifier import (
    BaseClassifier,
    create_base_classifier,
    create_prompted_classifier,
)
from models.vlm.vlm import VLM
from worker.contract import FewShotTarget, Target, TemplateTarget
from worker.evaluation.accuracy import Share
from worker.prepare import prepare_image


def measure_clean(
    vlm: VLM,
    files: Sequence[LabelledFile],
    targets: Sequence[Target],
    prompts: Mapping[str, Prompt],
    *,
    batch_size: int,
) -> tuple[Share | None, ...]:
    """For each target, the share of images that its base classifier predicts correctly.

    The share is None for a target whose classifier depends on the image or is chosen from several.
    """
    classifiers = [_find_classifier(vlm, target, prompts) for target in targets]
    right = [0] * len(targets)
    for batch in _batches(files, batch_size):
        features = _encode(vlm, batch, batch_size)
        for place, classifier in enumerate(classifiers):
            if classifier is not None:
                right[place] += _count_right(classifier, features, batch)
    return tuple(
        None if classifier is None else Share.of(n, len(files))
        for classifier, n in zip(classifiers, right, strict=True)
    )


def _find_classifier(
    vlm: VLM, target: Target, prompts: Mapping[str, Prompt]
) -> BaseClassifier | None:
    match target:
        case TemplateTarget(template=template, class_names=names):
            with torch.inference_mode():
                return create_base_classifier(vlm, template, names)
        case FewShotTarget(prompt=ref, class_names=names):
            return create_prompted_classifier(vlm, prompts[ref.sha256], names)
        case _:
            return None


def _batches(files: Sequence[LabelledFile], size: int) -> Iterator[list[LabelledFile]]:
    rest = iter(files)
    while batch := list(islice(rest, size)):
        yield batch


@torch.inference_mode()
def _encode(vlm: VLM, batch: Sequence[LabelledFile], batch_size: int) -> torch.Tensor:
    """The features of a batch, (len(batch), D). The batch is padded to `batch_size` rows."""
    size = vlm.card.preprocessing.size
    pixels = np.zeros((batch_size, 3, size, size), dtype=np.int16)
    for row, file in enumerate(batch):
        pixels[row] = prepare_image(file.path.read_bytes(), vlm.card)[0]
    return vlm.encode_images(torch.from_numpy(pixels).to(vlm.device))[: len(batch)]


@torch.inference_mode()
def _count_right(
    classifier: BaseClassifier, features: torch.Tensor, batch: Sequence[LabelledFile]
) -> int:
    predicted = classifier.logits(features).argmax(dim=1).tolist()  # (len(batch),)
    return sum(p == file.class_index for p, file in zip(predicted, batch, strict=True))
