"""The images of an evaluation without noise, as a model sees them at its own batch shape."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Self

import numpy as np
import numpy.typing as npt
import torch

from models.datasets.files import LabelledFile
from models.vlm.base_classifier import BaseClassifier
from models.vlm.vlm import VLM
from worker.evaluation.accuracy import Share
from worker.prepare import prepare_image

Answers = npt.NDArray[np.int64]
"""The class predicted for each image, int64 (N,)."""


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
        parts = [_encode(vlm, batch, batch_size) for batch in _batches(files, batch_size)]
        return cls(
            features=torch.cat(parts),
            classes=np.array([file.class_index for file in files], dtype=np.int64),
        )

    @torch.inference_mode()
    def answer(self, classifier: BaseClassifier) -> Answers:
        """What a base classifier predicts for each image."""
        found: Answers = classifier.logits(self.features).argmax(dim=1).cpu().numpy()
        return found

    def measure(self, classifier: BaseClassifier) -> Share:
        """The share of images that a base classifier predicts correctly."""
        return Share.of(int((self.answer(classifier) == self.classes).sum()), len(self.classes))


def _batches(files: Sequence[LabelledFile], size: int) -> Iterator[list[LabelledFile]]:
    rest = iter(files)
    while batch := list(islice(rest, size)):
        yield batch


@torch.inference_mode()
def _encode(vlm: VLM, batch: Sequence[LabelledFile], batch_size: int) -> torch.Tensor:
    """The features of a batch, (len(batch), D)."""
    size = vlm.card.preprocessing.size
    pixels = np.zeros((batch_size, 3, size, size), dtype=np.int16)
    for row, file in enumerate(batch):
        pixels[row] = prepare_image(file.path.read_bytes(), vlm.card)[0]
    return vlm.encode_images(torch.from_numpy(pixels).to(vlm.device))[: len(batch)]
