"""Shares one engine of this process among threads that each certify an image.

A separate thread steps the engine. Votes do not depend on the batch a sample travels in, so a
certificate does not depend on how many images share the engine. More images only fill its batches.
"""

import queue
import threading
from types import TracebackType
from typing import Self

from worker.engine.engine import Engine
from worker.engine.local import Answer, InProcessCounter

_LOOK_AROUND_S = 0.1


class EngineEnded(RuntimeError):
    """The engine stopped before it answered. The cause is the error that stopped it, if any."""


class SharedEngine:
    """Steps an engine in a thread of its own while the context lasts.

    Leaving the context ends the thread and every counter that is still waiting. If a step failed,
    its error is raised then, unless another error is already leaving the context.
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
        """A counter, to be used by one thread at a time."""
        return SharedCounter(self, self._engine)

    def _step(self) -> None:
        try:
            while not self._stopping.is_set():
                if self._engine.wait_for_work(_LOOK_AROUND_S):
                    self._engine.step()
        except BaseException as error:
            self._failure = error

    def wait_for(self, answers: "queue.SimpleQueue[Answer]") -> Answer:
        """The next answer in the queue. Raises EngineEnded if none can come."""
        while True:
            ended = not self._thread.is_alive()
            try:
                return answers.get(timeout=0 if ended else _LOOK_AROUND_S)
            except queue.Empty:
                if ended:
                    raise EngineEnded("the engine ended before it answered") from self._failure


class SharedCounter(InProcessCounter):
    """A `Counter` whose engine another thread steps. Raises EngineEnded if the engine stops.

    Leaving the context closes the session.
    """

    def __init__(self, shared: SharedEngine, engine: Engine) -> None:
        super().__init__(engine)
        self._shared = shared

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _wait_for(self, answers: "queue.SimpleQueue[Answer]") -> Answer:
        return self._shared.wait_for(answers)
