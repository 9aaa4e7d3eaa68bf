"""What is attacked: the smoothed model or the undefended one, as the search sees either."""

from dataclasses import dataclass
from typing import Protocol

from worker.attack.grid import Direction
from worker.contract import protocol
from worker.contract.image import Image
from worker.counting.counter import Counter


class Prober(Counter, Protocol):
    """A `Counter` that also answers questions about f: an engine behind a socket, or in process."""

    def take_gradient(self, wanted: protocol.TakeGradient, image: Image) -> protocol.GradientTaken:
        """The gradient at an image."""

    def classify(self, wanted: protocol.ClassifyImages, images: Image) -> protocol.ImagesClassified:
        """The votes for images without noise."""


@dataclass(frozen=True, kw_only=True)
class Glance:
    """A gradient of the margin of the answer, and what most likely is the answer there."""

    gradient: Direction
    answer: int


class Victim(Protocol):
    """A classifier of 8-bit images, one answer of which is to be changed.

    Attributes:
        at_once: how many images it answers in one question.
    """

    at_once: int

    def glance(self, image: Image, class_index: int) -> Glance:
        """The gradient of the margin of a class at an image. Guides; shows nothing."""

    def answer(self, images: Image) -> tuple[int | None, ...]:
        """For each of the images, uint8 (N, 3, H, W), the answer; None if there is no clear one."""
