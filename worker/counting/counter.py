"""Who counts votes: an engine behind a socket, one in this process, or several hosts together."""

from typing import Protocol

from worker.contract import protocol
from worker.contract.image import Image


class VoteSource(Protocol):
    """Counts ranges of samples, and may count some of them early."""

    def count(self, wanted: protocol.CountRange) -> None:
        """Requests a range of samples."""

    def prefetch(self, likely: protocol.CountRange) -> None:
        """Announces a range that may be requested next. Its votes may come early."""

    def receive(self) -> protocol.RangeCounted:
        """The next counted range. Ranges of one noise level and phase come in order."""


class Counter(VoteSource, Protocol):
    """Counts votes on one image, in one session at a time."""

    def open(self, session: protocol.OpenSession, image: Image) -> protocol.SessionOpened:
        """Opens a session for one image."""

    def tune(self, wanted: protocol.TunePrompts, image: Image) -> protocol.PromptsTuned:
        """Tunes prompts on an image."""
