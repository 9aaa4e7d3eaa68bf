"""A `Prober` that lets somebody end the search before each question."""

import time
from collections.abc import Callable
from typing import final

from worker.attack.victim import Prober
from worker.contract import protocol
from worker.contract.image import Image


class TimeEnded(Exception):
    """The time for the search is spent."""


def create_limit(seconds: float, clock: Callable[[], float] = time.monotonic) -> Callable[[], None]:
    """What raises `TimeEnded` once so many seconds have passed."""
    until = clock() + seconds

    def require_time() -> None:
        if clock() >= until:
            raise TimeEnded

    return require_time


@final
class Watched:
    """Calls `on_step` before each question. What it raises ends the search."""

    def __init__(self, prober: Prober, on_step: Callable[[], None]) -> None:
        self._prober, self._on_step = prober, on_step

    def open(self, session: protocol.OpenSession, image: Image) -> protocol.SessionOpened:
        """See `Counter`."""
        self._on_step()
        return self._prober.open(session, image)

    def tune(self, wanted: protocol.TunePrompts, image: Image) -> protocol.PromptsTuned:
        """See `Counter`."""
        return self._prober.tune(wanted, image)

    def count(self, wanted: protocol.CountRange) -> None:
        """See `Counter`."""
        self._prober.count(wanted)

    def prefetch(self, likely: protocol.CountRange) -> None:
        """See `Counter`."""
        self._prober.prefetch(likely)

    def receive(self) -> protocol.RangeCounted:
        """See `Counter`."""
        return self._prober.receive()

    def take_gradient(self, wanted: protocol.TakeGradient, image: Image) -> protocol.GradientTaken:
        """See `Prober`."""
        self._on_step()
        return self._prober.take_gradient(wanted, image)

    def classify(self, wanted: protocol.ClassifyImages, images: Image) -> protocol.ImagesClassified:
        """See `Prober`."""
        self._on_step()
        return self._prober.classify(wanted, images)
