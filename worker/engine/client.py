"""The engine as its clients see it. No torch here: this runs in RQ's work-horses."""

import time
from multiprocessing.connection import Client, Connection
from pathlib import Path

from worker.contract import Failure
from worker.contract.image import Image
from worker.contract.protocol import (
    ANSWER,
    MAX_FRAME_BYTES,
    Answer,
    AskStatus,
    CountRange,
    EngineStatus,
    OpenSession,
    PromptsTuned,
    RangeCounted,
    SessionOpened,
    SessionRefused,
    SessionWaits,
    TunePrompts,
)
from worker.processes.hand_back import interruptible

STALLED_S = 300.0


class EngineLost(ConnectionError):
    """The engine is not there, ended under way, or stopped answering. Trying again may help."""


class EngineAway(EngineLost):
    """No engine listens: it starts, or starts again. The job that asked has no part in that."""


class EngineRefused(Exception):
    """The engine will not serve this session, however often it is asked."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.detail)
        self.failure = failure


class EngineClient:
    """One session with an engine over its unix socket. A context manager."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @classmethod
    def connect(cls, path: Path, *, wait_s: float) -> "EngineClient":
        """Connects, waiting for an engine that is still starting.

        Raises:
            EngineAway: none listens after `wait_s`.
        """
        deadline = time.monotonic() + wait_s
        while True:
            try:
                return cls(Client(str(path), family="AF_UNIX"))
            except OSError as error:
                if time.monotonic() >= deadline:
                    raise EngineAway(f"no engine listens at {path} after {wait_s:g} s") from error
                with interruptible():
                    time.sleep(0.1)

    def __enter__(self) -> "EngineClient":
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def open(self, session: OpenSession, image: Image) -> SessionOpened:
        """Opens the session, as soon as its model is loaded.

        Raises:
            EngineRefused: it cannot be served.
            EngineLost: the engine is gone.
        """
        self._send(session.model_dump_json().encode())
        self._send(image.tobytes())
        answer = self._receive_served()
        assert isinstance(answer, SessionOpened)
        return answer

    def tune(self, wanted: TunePrompts, image: Image) -> PromptsTuned:
        """Tunes prompts on an image; ends the session that was open. Errors as `open`."""
        self._send(wanted.model_dump_json().encode())
        self._send(image.tobytes())
        answer = self._receive_served()
        assert isinstance(answer, PromptsTuned)
        return answer

    def count(self, wanted: CountRange) -> None:
        """Asks for a range; its votes arrive by `receive`."""
        self._send(wanted.model_dump_json().encode())

    def foresee(self, likely: CountRange) -> None:
        """Names a range that may be asked for next; its votes may arrive early."""
        self.count(likely)

    def receive(self) -> RangeCounted:
        """The next counted range. EngineLost when none comes any more."""
        answer = self._receive_served()
        assert isinstance(answer, RangeCounted)
        return answer

    def status(self, *, timeout_s: float) -> EngineStatus:
        """What the engine has ready. EngineLost when it does not answer in time."""
        self._send(AskStatus().model_dump_json().encode())
        answer = self._receive(timeout_s)
        assert isinstance(answer, EngineStatus)
        return answer

    def _receive_served(self) -> Answer:
        """The next answer that is not about waiting. EngineRefused where it is a refusal."""
        while isinstance(answer := self._receive(STALLED_S), SessionWaits):
            pass
        if isinstance(answer, SessionRefused):
            raise EngineRefused(answer.failure)
        return answer

    def _send(self, frame: bytes) -> None:
        try:
            self._connection.send_bytes(frame)
        except OSError as error:
            raise EngineLost("the engine ended under way") from error

    def _receive(self, timeout_s: float) -> Answer:
        try:
            with interruptible():
                answers = self._connection.poll(timeout_s)
            frame = self._connection.recv_bytes(MAX_FRAME_BYTES) if answers else None
        except (OSError, EOFError) as error:
            raise EngineLost("the engine ended under way") from error
        if frame is None:
            raise EngineLost(f"the engine did not answer for {timeout_s:g} s")
        return ANSWER.validate_json(frame)
