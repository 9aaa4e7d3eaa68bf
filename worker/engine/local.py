"""`Counter`s on an engine of this process: for the command line, evaluations and tests."""

import queue
from abc import ABC, abstractmethod
from typing import TypeVar

from worker.contract import protocol
from worker.contract.image import Image
from worker.engine.engine import Engine
from worker.engine.session import Session
from worker.engine.shelf.refusal import SessionNotServed

Answer = TypeVar("Answer")


class InProcessCounter(ABC):
    """A `Counter` on an engine of this process. It has one session at a time."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._session: Session | None = None
        self._counted: queue.SimpleQueue[protocol.RangeCounted] = queue.SimpleQueue()

    @abstractmethod
    def _wait_for(self, answers: "queue.SimpleQueue[Answer]") -> Answer:
        """The next answer in a queue that the engine fills when it is stepped."""

    def open(self, session: protocol.OpenSession, image: Image) -> protocol.SessionOpened:
        """Opens a session and closes the previous one. Raises the errors of `Engine.open`."""
        self.close()
        self._counted = queue.SimpleQueue()
        self._session = self._engine.open(session, image, self._counted.put)
        return self._session.opened

    def tune(self, wanted: protocol.TunePrompts, image: Image) -> protocol.PromptsTuned:
        """Tunes prompts on an image and closes the previous session.

        Raises:
            SessionNotServed: as `Engine.tune`, or tuning failed.
        """
        self.close()
        answers: queue.SimpleQueue[protocol.PromptsTuned | protocol.SessionRefused] = (
            queue.SimpleQueue()
        )
        session = self._engine.tune(wanted, image, answers.put)
        try:
            answer = self._wait_for(answers)
        finally:
            self._engine.close(session)
        if isinstance(answer, protocol.SessionRefused):
            raise SessionNotServed(answer.failure.code, answer.failure.detail)
        return answer

    def take_gradient(self, wanted: protocol.TakeGradient, image: Image) -> protocol.GradientTaken:
        """The gradient at an image. Raises SessionNotServed as `Engine.probe`."""
        answer = self._ask(wanted, image[None])
        assert isinstance(answer, protocol.GradientTaken)
        return answer

    def classify(self, wanted: protocol.ClassifyImages, images: Image) -> protocol.ImagesClassified:
        """The votes for images without noise. Raises SessionNotServed as `Engine.probe`."""
        answer = self._ask(wanted, images)
        assert isinstance(answer, protocol.ImagesClassified)
        return answer

    def _ask(self, wanted: protocol.Probe, images: Image) -> protocol.Answer:
        answers: queue.SimpleQueue[protocol.Answer] = queue.SimpleQueue()
        self._engine.probe(wanted, images, answers.put)
        answer = self._wait_for(answers)
        if isinstance(answer, protocol.SessionRefused):
            raise SessionNotServed(answer.failure.code, answer.failure.detail)
        return answer

    def close(self) -> None:
        """Closes the open session, whose model might leave no room for the next one."""
        if self._session is not None:
            self._engine.close(self._session)
            self._session = None

    def count(self, wanted: protocol.CountRange) -> None:
        """Requests a range."""
        assert self._session is not None, "open a session first"
        self._engine.request(self._session, wanted)

    def prefetch(self, likely: protocol.CountRange) -> None:
        """Announces a range that may be requested next."""
        self.count(likely)

    def receive(self) -> protocol.RangeCounted:
        """The next counted range. Raises an error if none can come."""
        return self._wait_for(self._counted)


class LocalCounter(InProcessCounter):
    """Steps the engine whenever it waits. Raises LookupError if nothing was requested."""

    def _wait_for(self, answers: "queue.SimpleQueue[Answer]") -> Answer:
        while answers.empty():
            if not self._engine.step():
                raise LookupError("no range was requested")
        return answers.get()
