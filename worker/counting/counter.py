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
    """Counts ranges, those that are named early among them."""

    def count(self, wanted: CountRange) -> None:
        """Asks for a range of samples."""

    def foresee(self, likely: CountRange) -> None:
        """Names a range that may be asked for next; its votes may come early, or only then."""

    def receive(self) -> RangeCounted:
        """The next counted range; those of one noise level and phase come in order."""


class Counter(Source, Protocol):
    """Counts votes: an engine behind a socket, or one in this process."""

    def open(self, session: OpenSession, image: Image) -> SessionOpened:
        """Opens a session for one image."""

    def tune(self, wanted: TunePrompts, image: Image) -> PromptsTuned:
        """Tunes prompts on an image."""
