"""What prompts that were tuned on one image answer on the other images of the set."""

from collections.abc import Iterable, Iterator
from typing import Self

import numpy as np
import numpy.typing as npt
from pydantic import Field

from worker.contract import Contract

Answers = npt.NDArray[np.int64]
"""The class predicted for each image, int64 (N,)."""


class OtherImages(Contract):
    """The tuned prompts of a row, each on all images but its own, without noise.

    A frozen prompt that answers one class whatever it sees is certified far out. So a zero-shot
    radius says more the closer `accuracy` is to the start prompt's, and `commonest` to the share of
    the largest class.

    Attributes:
        prompts: the number of prompts, one for each image.
        accuracy: the mean over prompts of their accuracy; `lowest_accuracy` is the worst prompt's.
        commonest: the mean over prompts of the share of the answer that each gives most often;
            `largest_commonest` is the largest.
    """

    prompts: int = Field(ge=1)
    accuracy: float = Field(ge=0, le=1)
    lowest_accuracy: float = Field(ge=0, le=1)
    commonest: float = Field(ge=0, le=1)
    largest_commonest: float = Field(ge=0, le=1)

    @classmethod
    def of(cls, answers: Iterable[Answers], classes: Answers) -> Self:
        """Summarises the answers of each image's prompt, in the order of the images.

        Args:
            answers: for each image, what the prompt tuned on it predicts for all images, (N,).
            classes: the class of each image, (N,).

        Raises:
            ValueError: there are fewer than two images, or not one prompt for each.
        """
        if len(classes) < 2:
            raise ValueError(f"expected at least two images, got {len(classes)}")
        shares = np.array(list(_shares(answers, classes)))  # (N, 2)
        return cls(
            prompts=len(shares),
            accuracy=float(shares[:, 0].mean()),
            lowest_accuracy=float(shares[:, 0].min()),
            commonest=float(shares[:, 1].mean()),
            largest_commonest=float(shares[:, 1].max()),
        )


def _shares(answers: Iterable[Answers], classes: Answers) -> Iterator[tuple[float, float]]:
    """For each prompt, its accuracy on the other images and the share of its commonest answer."""
    for own, found in zip(range(len(classes)), answers, strict=True):
        others = np.delete(found, own)
        right = (others == np.delete(classes, own)).mean()
        yield float(right), np.bincount(others).max() / len(others)
