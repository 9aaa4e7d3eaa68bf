"""The engine behind a Unix socket.

Each client has a reader thread and a writer thread. One thread computes for all of them.
"""

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection, Listener
from pathlib import Path

import numpy as np

from worker.contract import Contract
from worker.contract.image import Image
from worker.contract.protocol import (
    MAX_FRAME_BYTES,
    QUESTION,
    AskStatus,
    ClassifyImages,
    CountRange,
    OpenSession,
    Probe,
    SessionRefused,
    SessionWaits,
    TakeGradient,
    TunePrompts,
)
from worker.engine.engine import Engine
from worker.engine.session import Session
from worker.engine.shelf.refusal import SessionNotServed
from worker.engine.shelf.shelf import DeviceLost

log = logging.getLogger(__name__)

_STUCK_S = 60.0  # a step that takes longer means that the device hangs


class EngineServer:
    """Serves an engine until `stop`."""

    def __init__(self, engine: Engine, path: Path) -> None:
        self._engine = engine
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)  # a socket left by an engine that was killed
        self._listener = Listener(str(path), family="AF_UNIX", backlog=64)
        path.chmod(0o600)
        self._stopping = threading.Event()

    def serve(self) -> None:
        """Answers clients until `stop` is called. Computes in the calling thread."""
        threading.Thread(target=self._accept, name="accept", daemon=True).start()
        while not self._stopping.is_set():
            if self._engine.wait_for_work(timeout_s=0.5):
                self._engine.step()

    def stop(self) -> None:
        """Ends `serve` after the current step. Safe to call in a signal handler."""
        self._stopping.set()

    def _accept(self) -> None:
        while True:
            try:
                connection = self._listener.accept()
                threading.Thread(target=self._converse, args=(connection,), daemon=True).start()
            except (OSError, RuntimeError):  # out of descriptors or threads until another ends
                log.exception("engine_accept_failed")
                time.sleep(0.5)

    def _converse(self, connection: Connection) -> None:
        outbox = _Outbox(connection)
        session: Session | None = None
        try:
            while True:
                match QUESTION.validate_json(connection.recv_bytes(MAX_FRAME_BYTES)):
                    case AskStatus() if self._engine.step_s < _STUCK_S:
                        outbox.put(self._engine.status())
                    case AskStatus():
                        log.error("engine_stuck")  # unanswered, so the supervisor will end us
                    case OpenSession() | TunePrompts() as spec:
                        if session is not None:
                            self._engine.close(session)
                            session = None  # releases its model, to make room for the next one
                        session = self._open(spec, connection, outbox)
                    case CountRange() as wanted if session is not None:
                        self._engine.request(session, wanted)
                    case TakeGradient() | ClassifyImages() as spec:
                        self._probe(spec, connection, outbox)
        except (EOFError, OSError):
            pass  # the client has finished or is gone, so nobody waits for more
        except ValueError:
            log.exception("engine_protocol_error")
        except DeviceLost:
            self._stopping.wait()  # the engine is ending: a client let go now would reconnect to it
        finally:
            if session is not None:
                self._engine.close(session)
            session = None  # releases its model: sending the last answer may take long
            outbox.close()
            connection.close()

    def _open(
        self, spec: OpenSession | TunePrompts, connection: Connection, outbox: "_Outbox"
    ) -> Session | None:
        data = connection.recv_bytes(MAX_FRAME_BYTES)
        image: Image = np.frombuffer(data, np.uint8).reshape(3, spec.height, spec.width)
        say_waiting = _create_waiting(connection, outbox)
        try:
            if isinstance(spec, TunePrompts):
                return self._engine.tune(spec, image, outbox.put, say_waiting)
            session = self._engine.open(spec, image, outbox.put, say_waiting)
        except SessionNotServed as error:
            outbox.put(SessionRefused(failure=error.failure))
            return None
        outbox.put(session.opened)
        return session

    def _probe(self, spec: Probe, connection: Connection, outbox: "_Outbox") -> None:
        """Queues a question. It leaves an open session as it is."""
        data = connection.recv_bytes(MAX_FRAME_BYTES)
        shape = (spec.images, 3, spec.height, spec.width)
        images: Image = np.frombuffer(data, np.uint8).reshape(shape)
        try:
            self._engine.probe(spec, images, outbox.put, _create_waiting(connection, outbox))
        except SessionNotServed as error:
            outbox.put(SessionRefused(failure=error.failure))


def _create_waiting(connection: Connection, outbox: "_Outbox") -> Callable[[], None]:
    """What tells a client that its model is not there yet."""

    def say_waiting() -> None:
        if connection.poll():  # a waiting client sends nothing, so this one has left
            raise EOFError
        outbox.put(SessionWaits())

    return say_waiting


class _Outbox:
    """Sends the answers to one client in its own thread, so a slow client delays no other."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._answers: queue.SimpleQueue[Contract | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._send, daemon=True)
        self._thread.start()

    def put(self, answer: Contract) -> None:
        self._answers.put(answer)

    def close(self) -> None:
        """Waits until the last answer is sent. The connection may be closed only then."""
        self._answers.put(None)
        self._thread.join()

    def _send(self) -> None:
        with contextlib.suppress(OSError):
            while (answer := self._answers.get()) is not None:
                self._connection.send_bytes(answer.model_dump_json().encode())
