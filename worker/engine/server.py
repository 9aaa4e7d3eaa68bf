"""The engine behind a unix socket: one reader and one writer thread a client, one that computes."""

import contextlib
import logging
import queue
import threading
import time
from multiprocessing.connection import Connection, Listener
from pathlib import Path

import numpy as np

from worker.contract import Contract
from worker.contract.image import Image
from worker.contract.protocol import (
    MAX_FRAME_BYTES,
    QUESTION,
    AskStatus,
    CountRange,
    OpenSession,
    SessionRefused,
    SessionWaits,
    TunePrompts,
)
from worker.engine.engine import Engine
from worker.engine.session import Session
from worker.engine.shelf.refusal import SessionNotServed
from worker.engine.shelf.shelf import DeviceLost

log = logging.getLogger(__name__)

_STUCK_S = 60.0  # no batch takes this long; a device that hangs does


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
        """Answers clients; computes in the calling thread. Returns after `stop`."""
        threading.Thread(target=self._accept, name="accept", daemon=True).start()
        while not self._stopping.is_set():
            if self._engine.wait_for_work(timeout_s=0.5):
                self._engine.step()

    def stop(self) -> None:
        """Ends `serve` after the batch under way. Safe in a signal handler."""
        self._stopping.set()

    def _accept(self) -> None:
        while True:
            try:
                connection = self._listener.accept()
                threading.Thread(target=self._converse, args=(connection,), daemon=True).start()
            except (OSError, RuntimeError):  # no descriptor or thread to be had: others may end
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
                        log.error("engine_stuck")  # no answer: the supervisor will end us
                    case OpenSession() | TunePrompts() as spec:
                        if session is not None:
                            self._engine.close(session)
                            session = None  # holds a model, for which there may be no room now
                        session = self._open(spec, connection, outbox)
                    case CountRange() as wanted if session is not None:
                        self._engine.request(session, wanted)
        except (EOFError, OSError):
            pass  # the client has finished, or is gone; either way nobody waits for more
        except ValueError:
            log.exception("engine_protocol_error")
        except DeviceLost:
            self._stopping.wait()  # the engine ends: a client that came back now would find it yet
        finally:
            if session is not None:
                self._engine.close(session)
            session = None  # holds a model, and the last answer may take its time
            outbox.close()
            connection.close()

    def _open(
        self, spec: OpenSession | TunePrompts, connection: Connection, outbox: "_Outbox"
    ) -> Session | None:
        data = connection.recv_bytes(MAX_FRAME_BYTES)
        image: Image = np.frombuffer(data, np.uint8).reshape(3, spec.height, spec.width)

        def say_waiting() -> None:
            if connection.poll():  # a client that waits says nothing: this one has left
                raise EOFError
            outbox.put(SessionWaits())

        try:
            if isinstance(spec, TunePrompts):
                return self._engine.tune(spec, image, outbox.put, say_waiting)
            session = self._engine.open(spec, image, outbox.put, say_waiting)
        except SessionNotServed as error:
            outbox.put(SessionRefused(failure=error.failure))
            return None
        outbox.put(session.opened)
        return session


class _Outbox:
    """Answers to one client, sent by a thread of its own: a slow client halts no other."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._answers: queue.SimpleQueue[Contract | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._send, daemon=True)
        self._thread.start()

    def put(self, answer: Contract) -> None:
        self._answers.put(answer)

    def close(self) -> None:
        """Waits for the last answer to go out; only then may the connection be closed."""
        self._answers.put(None)
        self._thread.join()

    def _send(self) -> None:
        with contextlib.suppress(OSError):
            while (answer := self._answers.get()) is not None:
                self._connection.send_bytes(answer.model_dump_json().encode())
