"""The undefended model: f itself, without noise, under the prompt of a certificate."""

from typing import final

from worker.attack.target import Target
from worker.attack.victim import Glance, Prober
from worker.contract import protocol
from worker.contract.image import Image


@final
class Undefended:
    """A `Victim` that answers by f alone."""

    at_once = 60  # one batch of most models

    def __init__(self, prober: Prober, target: Target) -> None:
        self._prober, self._target = prober, target

    def glance(self, image: Image, class_index: int) -> Glance:
        """See `Victim`."""
        return self._target.glance(self._prober, image, class_index)

    def answer(self, images: Image) -> tuple[int | None, ...]:
        """See `Victim`: the vote of f, None where it is too near a tie to vote."""
        target, (count, _, height, width) = self._target, images.shape
        wanted = protocol.ClassifyImages(
            model=target.model,
            height=height,
            width=width,
            prompts=target.prompts,
            text=target.text,
            images=count,
        )
        votes = self._prober.classify(wanted, images).votes
        return tuple(None if vote < 0 else vote for vote in votes)
