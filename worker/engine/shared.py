"""One engine of this process for several threads: each certifies an image, one thread steps.

Votes do not depend on the batch that a sample travels in, so neither do certificates on how many
images share the engine; they only fill its batches.
"""

import queue
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self, TypeVar

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

_LOOK_AROUND_S = 0.1

Answer = TypeVar("Answer")


class EngineEnded(RuntimeError):
    """The engine stopped before it answered; what stopped it, if not its owner, is the cause."""


class SharedEngine:
    """Steps an engine in a thread of its own while the context lasts.

    Leaving the context ends the thread, and every counter that still waits.

    Raises:
        Whatever ended a step, on leaving the context without another error.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._stopping = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._step, name="engine", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _error: object, _trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join()
        if kind is None and self._failure is not None:
            raise self._failure

    def create_counter(self) -> "SharedCounter":
        """A counter for one thread at a time."""
        return SharedCounter(self, self._engine)

    def _step(self) -> None:
        try:
            while not self._stopping.is_set():
                if self._engine.wait_for_work(_LOOK_AROUND_S):
                    self._engine.step()
        except BaseException as error:
            self._failure = error

    def wait_for(self, answers: "queue.SimpleQueue[Answer]") -> Answer:
        """The next of some answers. EngineEnded when none will come."""
        while True:
            ended = not self._thread.is_alive()
            try:
                return answers.get(timeout=0 if ended else _LOOK_AROUND_S)
            except queue.Empty:
                if ended:
                    raise EngineEnded("the engine ended before it answered") from self._failure


class SharedCounter:
    """A `Counter` whose engine is stepped elsewhere; one session at a time.

    Leaving the context closes its session.
    """

    def __init__(self, shared: SharedEngine, engine: Engine) -> None:
        self._shared, self._engine = shared, engine
        self._session: Session | None = None
        self._counted: queue.SimpleQueue[RangeCounted] = queue.SimpleQueue()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def _close(self) -> None:
        """Ends the session that is open: it holds a model, for which there may be no room now."""
        if self._session is not None:
            self._engine.close(self._session)
            self._session = None

    def open(self, session: OpenSession, image: Image) -> SessionOpened:
        """Opens a session, closing the one before. SessionNotServed as `Engine.open`."""
        self._close()
        self._counted = queue.SimpleQueue()
        self._session = self._engine.open(session, image, self._counted.put)
        return self._session.opened

    def tune(self, wanted: TunePrompts, image: Image) -> PromptsTuned:
        """Tunes prompts on an image, closing the session before. Errors as `Engine.tune`."""
        self._close()
        answers: queue.SimpleQueue[PromptsTuned | SessionRefused] = queue.SimpleQueue()
        deliver: Callable[[PromptsTuned | SessionRefused], None] = answers.put
        session = self._engine.tune(wanted, image, deliver)
        try:
            answer = self._shared.wait_for(answers)
        finally:
            self._engine.close(session)
        if isinstance(answer, SessionRefused):
            raise SessionNotServed(answer.failure.code, answer.failure.detail)
        return answer

    def count(self, wanted: CountRange) -> None:
        """Asks for a range."""
        assert self._session is not None, "open a session first"
        self._engine.request(self._session, wanted)

    def foresee(self, likely: CountRange) -> None:
        """Names a range that may be asked for next."""
        self.count(likely)

    def receive(self) -> RangeCounted:
        """The next counted range. EngineEnded when the engine stops before it is counted."""
        return self._shared.wait_for(self._counted)
