"""The node as one process: it takes objects, certifies them and delivers results until it ends."""

import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import IO, Protocol

from app.dicom.audit import Audit
from app.dicom.certifying import Certifying
from app.dicom.delivering import Delivering
from app.dicom.metrics import NodeMetrics, create_counter
from app.dicom.network.node import Node, quieten_libraries
from app.dicom.objects import Objects
from app.dicom.rules import load_rules
from app.dicom.service import create_client
from app.dicom.settings import DicomSettings
from app.dicom.spool import Spool
from models.log import get_logger

_IDLE_S = 0.5
_AFTER_AN_ERROR_S = 5.0

log = get_logger(__name__)


class _Worker(Protocol):
    def step(self) -> bool: ...


def open_spool(settings: DicomSettings) -> Spool:
    """The node's spool."""
    return Spool(settings.spool, most_bytes=settings.spool_bytes)


def serve(
    settings: DicomSettings, ended: threading.Event, *, on_ready: Callable[[int], None]
) -> None:
    """Runs the node until `ended` is set. What is under way then goes on at the next start.

    Args:
        on_ready: is told the port.

    Raises:
        ValueError: nobody may send, the rules cannot be used, or another node has the spool.
    """
    if not settings.calling_ae:
        raise ValueError("PROMPTSMOOTH_DICOM_CALLING_AE names nobody: say which AE titles may send")
    rules = load_rules(settings.rules)
    quieten_libraries()
    with ExitStack() as stack:
        spool = open_spool(settings)
        stack.callback(spool.close)
        stack.enter_context(_holding(settings))
        audit, stored = Audit(settings), create_counter()
        node = Node(settings, rules, spool, audit, stored)
        port = stack.enter_context(node.listening())
        if settings.metrics_port is not None:
            figures = NodeMetrics(_open_again(stack, spool), stored, node.count_associations)
            stack.enter_context(figures.served(settings.metrics_bind, settings.metrics_port))
        client = stack.enter_context(create_client(settings))
        own = _open_again(stack, spool)
        workers: list[_Worker] = [
            Certifying(client, Objects(rules, settings, own), settings, own),
            Delivering(rules, settings, _open_again(stack, spool), audit),
        ]
        threads = [threading.Thread(target=work, args=(one, ended)) for one in workers]
        for thread in threads:
            thread.start()
        try:
            on_ready(port)
            ended.wait()
        finally:
            ended.set()
            for thread in threads:
                thread.join()


def _open_again(stack: ExitStack, spool: Spool) -> Spool:
    return stack.enter_context(closing(spool.open_again()))


def work(worker: _Worker, ended: threading.Event, *, pause_s: float = _AFTER_AN_ERROR_S) -> None:
    """Steps until the end. What fails outside a task, such as the spool, fails for a while only."""
    while not ended.is_set():
        try:
            if not worker.step():
                ended.wait(_IDLE_S)
        except (
            Exception
        ) as error:  # a thread that ends would leave the node taking objects for nobody
            log.error("spool_failed", worker=type(worker).__name__, reason=type(error).__name__)
            ended.wait(pause_s)


@contextmanager
def _holding(settings: DicomSettings) -> Iterator[IO[bytes]]:
    """One node has a spool at a time; a kill lets go of it."""
    lock = os.open(settings.spool / "node.lock", os.O_CREAT | os.O_WRONLY, 0o600)
    with os.fdopen(lock, "wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"another node works in {settings.spool}") from None
        yield file
