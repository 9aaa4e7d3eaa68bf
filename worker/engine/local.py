"""An engine of this process as a `Counter`: for the command line and for tests."""

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
    """Steps the engine whenever votes are asked for; one session at a time."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._session: Session | None = None
        self._counted: deque[RangeCounted] = deque()

    def open(self, session: OpenSession, image: Image) -> SessionOpened:
        """Opens a session, closing the one before. SessionNotServed as `Engine.open`."""
        self._close()
        self._counted.clear()
        self._session = self._engine.open(session, image, self._counted.append)
        return self._session.opened

    def tune(self, wanted: TunePrompts, image: Image) -> PromptsTuned:
        """Tunes prompts on an image, closing the session before. Errors as `Engine.tune`."""
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
        """Ends the session that is open: it holds a model, for which there may be no room now."""
        if self._session is not None:
            self._engine.close(self._session)
            self._session = None

    def count(self, wanted: CountRange) -> None:
        """Asks for a range."""
        assert self._session is not None, "open a session first"
        self._engine.request(self._session, wanted)

    def foresee(self, likely: CountRange) -> None:
        """Names a range that may be asked for next."""
        self.count(likely)

    def receive(self) -> RangeCounted:
        """The next counted range. LookupError when nothing was asked for."""
        while not self._counted:
            if not self._engine.step():
                raise LookupError("no range was asked for")
        return self._counted.popleft()
