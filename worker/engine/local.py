"""A `Counter` on an engine of this process, for the command line and for tests."""

from collections import deque

from worker.contract.image import Image
from worker.contract.protocol import (
    CountRange,
    OpenSession,
    PromptsTuned,
    RangeCounted,
    SessionOpened,
    SessionRefused,
    TunePrompts,
)
from worker.engine.engine import Engine
from worker.engine.session import Session
from worker.engine.shelf.refusal import SessionNotServed


class LocalCounter:
    """Steps the engine whenever votes are received. It has one session at a time."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._session: Session | None = None
        self._counted: deque[RangeCounted] = deque()

    def open(self, session: OpenSession, image: Image) -> SessionOpened:
        """Opens a session and closes the previous one. Raises the errors of `Engine.open`."""
        self._close()
        self._counted.clear()
        self._session = self._engine.open(session, image, self._counted.append)
        return self._session.opened

    def tune(self, wanted: TunePrompts, image: Image) -> PromptsTuned:
        """Tunes prompts on an image and closes the previous session.

        Raises:
            SessionNotServed: as `Engine.tune`, or tuning failed.
        """
        self._close()
        answers: list[PromptsTuned | SessionRefused] = []
        session = self._engine.tune(wanted, image, answers.append)
        while not answers:
            self._engine.step()
        self._engine.close(session)
        if isinstance(answers[0], SessionRefused):
            raise SessionNotServed(answers[0].failure.code, answers[0].failure.detail)
        return answers[0]

    def _close(self) -> None:
        """Closes the open session, whose model might leave no room for the next one."""
        if self._session is not None:
            self._engine.close(self._session)
            self._session = None

    def count(self, wanted: CountRange) -> None:
        """Requests a range."""
        assert self._session is not None, "open a session first"
        self._engine.request(self._session, wanted)

    def foresee(self, likely: CountRange) -> None:
        """Announces a range that may be requested next."""
        self.count(likely)

    def receive(self) -> RangeCounted:
        """The next counted range. Raises LookupError if no range was requested."""
        while not self._counted:
            if not self._engine.step():
                raise LookupError("no range was requested")
        return self._counted.popleft()
