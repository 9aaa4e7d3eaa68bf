"""The images of an evaluation without noise, as a model sees them at its own batch shape."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Self

import numpy as np
import torch

from models.datasets.files import LabelledFile
from models.vlm.base_classifier import BaseClassifier
from models.vlm.vlm import VLM
from worker.contract.image import Image
from worker.evaluation.accuracy import Share
from worker.evaluation.others import Answers
from worker.prepare import prepare_image


@dataclass(frozen=True, kw_only=True, eq=False)
class CleanImages:
    """The image features of a set, computed once for all prompts.

    Attributes:
        features: float32 (N, D), of unit length.
        classes: the class of each image, int64 (N,).
    """

    features: torch.Tensor
    classes: Answers

    @classmethod
    def encode(cls, vlm: VLM, files: Sequence[LabelledFile], batch_size: int) -> Self:
        """Computes the features. Every batch is padded to `batch_size` rows."""
        images = (prepare_image(file.path.read_bytes(), vlm.card)[0] for file in files)
        return cls.encode_images(vlm, images, [file.class_index for file in files], batch_size)

    @classmethod
    def encode_images(
        cls, vlm: VLM, images: Iterable[Image], classes: Sequence[int], batch_size: int
    ) -> Self:
        """Computes the features of prepared images, one or more, read as they are needed."""
        parts = [_encode(vlm, batch, batch_size) for batch in _batches(images, batch_size)]
        return cls(features=torch.cat(parts), classes=np.array(classes, dtype=np.int64))

    @torch.inference_mode()
    def answer(self, classifier: BaseClassifier) -> Answers:
        """What a base classifier predicts for each image."""
        found: Answers = classifier.logits(self.features).argmax(dim=1).cpu().numpy()
        return found

    def measure(self, classifier: BaseClassifier) -> Share:
        """The share of images that a base classifier predicts correctly."""
        return Share.of(int((self.answer(classifier) == self.classes).sum()), len(self.classes))


def _batches(images: Iterable[Image], size: int) -> Iterator[list[Image]]:
    rest = iter(images)
    while batch := list(islice(rest, size)):
        yield batch


@torch.inference_mode()
def _encode(vlm: VLM, batch: Sequence[Image], batch_size: int) -> torch.Tensor:
    """The features of a batch, (len(batch), D)."""
    size = vlm.card.preprocessing.size
    pixels = np.zeros((batch_size, 3, size, size), dtype=np.int16)
    for row, image in enumerate(batch):
        pixels[row] = image
    return vlm.encode_images(torch.from_numpy(pixels).to(vlm.device))[: len(batch)]
