"""Who counts votes: an engine behind a socket, one in this process, or several hosts together."""

from typing import Protocol

from worker.contract.image import Image
from worker.contract.protocol import (
    CountRange,
    OpenSession,
    PromptsTuned,
    RangeCounted,
    SessionOpened,
    TunePrompts,
)


class Source(Protocol):
    """Counts ranges of samples, and may count some of them early."""

    def count(self, wanted: CountRange) -> None:
        """Requests a range of samples."""

    def prefetch(self, likely: CountRange) -> None:
        """Announces a range that may be requested next. Its votes may come early."""

    def receive(self) -> RangeCounted:
        """The next counted range. Ranges of one noise level and phase come in order."""


class Counter(Source, Protocol):
    """Counts votes on one image, in one session at a time."""

    def open(self, session: OpenSession, image: Image) -> SessionOpened:
        """Opens a session for one image."""

    def tune(self, wanted: TunePrompts, image: Image) -> PromptsTuned:
        """Tunes prompts on an image."""
