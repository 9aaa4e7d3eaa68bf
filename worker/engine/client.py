"""The engine as its clients see it. It runs in RQ's work-horses, so it must not import torch."""

import time
from multiprocessing.connection import Client, Connection
from pathlib import Path

from worker.contract import Failure, protocol
from worker.contract.image import Image
from worker.processes.hand_back import interruptible

STALLED_S = 300.0


class EngineLost(ConnectionError):
    """The engine is absent, ended during the session or stopped answering. A retry may help."""


class EngineAway(EngineLost):
    """No engine is listening: it is starting or restarting. The job that asked is not to blame."""


class EngineRefused(Exception):
    """The engine cannot serve this session. A retry does not help."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.detail)
        self.failure = failure


class EngineClient:
    """One session with an engine over its Unix socket. A context manager."""

    def __init__(self, connection: Connection, *, urgent: bool = False) -> None:
        self._connection, self._urgent = connection, urgent

    @classmethod
    def connect(cls, path: Path, *, wait_s: float, urgent: bool = False) -> "EngineClient":
        """Connects, waiting up to `wait_s` seconds for an engine that is still starting.

        An `urgent` session goes before others.

        Raises:
            EngineAway: no engine is listening after `wait_s`.
        """
        deadline = time.monotonic() + wait_s
        while True:
            try:
                return cls(Client(str(path), family="AF_UNIX"), urgent=urgent)
            except OSError as error:
                if time.monotonic() >= deadline:
                    raise EngineAway(
                        f"no engine is listening at {path} after {wait_s:g} s"
                    ) from error
                with interruptible():
                    time.sleep(0.1)

    def __enter__(self) -> "EngineClient":
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def open(self, session: protocol.OpenSession, image: Image) -> protocol.SessionOpened:
        """Opens the session as soon as its model is loaded.

        Raises:
            EngineRefused: the session cannot be served.
            EngineLost: the engine is gone.
        """
        self._send_session(session, image)
        answer = self._receive_served()
        assert isinstance(answer, protocol.SessionOpened)
        return answer

    def tune(self, wanted: protocol.TunePrompts, image: Image) -> protocol.PromptsTuned:
        """Tunes prompts on an image and ends the open session. Raises the errors of `open`."""
        self._send_session(wanted, image)
        answer = self._receive_served()
        assert isinstance(answer, protocol.PromptsTuned)
        return answer

    def take_gradient(self, wanted: protocol.TakeGradient, image: Image) -> protocol.GradientTaken:
        """The gradient at an image. Raises the errors of `open`."""
        self._send(wanted.model_dump_json().encode())
        self._send(image.tobytes())
        answer = self._receive_served()
        assert isinstance(answer, protocol.GradientTaken)
        return answer

    def classify(self, wanted: protocol.ClassifyImages, images: Image) -> protocol.ImagesClassified:
        """The votes for images without noise. Raises the errors of `open`."""
        self._send(wanted.model_dump_json().encode())
        self._send(images.tobytes())
        answer = self._receive_served()
        assert isinstance(answer, protocol.ImagesClassified)
        return answer

    def count(self, wanted: protocol.CountRange) -> None:
        """Requests a range. `receive` returns its votes."""
        self._send(wanted.model_dump_json().encode())

    def prefetch(self, likely: protocol.CountRange) -> None:
        """Announces a range that may be requested next. Its votes may arrive early."""
        self.count(likely)

    def receive(self) -> protocol.RangeCounted:
        """The next counted range. Raises EngineLost if the engine is gone."""
        answer = self._receive_served()
        assert isinstance(answer, protocol.RangeCounted)
        return answer

    def status(self, *, timeout_s: float) -> protocol.EngineStatus:
        """The engine's status. Raises EngineLost if it does not answer in time."""
        self._send(protocol.AskStatus().model_dump_json().encode())
        answer = self._receive(timeout_s)
        assert isinstance(answer, protocol.EngineStatus)
        return answer

    def _receive_served(self) -> protocol.Answer:
        """The next answer that is not about waiting. Raises EngineRefused for a refusal."""
        while isinstance(answer := self._receive(STALLED_S), protocol.SessionWaits):
            pass
        if isinstance(answer, protocol.SessionRefused):
            raise EngineRefused(answer.failure)
        return answer

    def _send_session(
        self, session: protocol.OpenSession | protocol.TunePrompts, image: Image
    ) -> None:
        sent = session.model_copy(update={"urgent": self._urgent})
        self._send(sent.model_dump_json().encode())
        self._send(image.tobytes())

    def _send(self, frame: bytes) -> None:
        try:
            self._connection.send_bytes(frame)
        except OSError as error:
            raise EngineLost("the engine ended during the session") from error

    def _receive(self, timeout_s: float) -> protocol.Answer:
        try:
            with interruptible():
                answers = self._connection.poll(timeout_s)
            frame = self._connection.recv_bytes(protocol.MAX_FRAME_BYTES) if answers else None
        except (OSError, EOFError) as error:
            raise EngineLost("the engine ended during the session") from error
        if frame is None:
            raise EngineLost(f"the engine did not answer for {timeout_s:g} s")
        return protocol.ANSWER.validate_json(frame)
