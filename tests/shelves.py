"""Shelves of three small models, and what a test asks of them."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
import torch
from logged import list_events
from waiting import HANG_S

from models.catalogue import load_catalogue
from worker.contract import (
    CertifyRequest,
    CohenParameters,
    InputImage,
    ModelRef,
    TemplateTarget,
)
from worker.contract.image import Image, image_sha256
from worker.contract.protocol import (
    CountRange,
    OpenSession,
    RangeCounted,
)
from worker.counting.roll import Roll
from worker.counting.sessions import NOTHING_TUNED, create_session
from worker.engine.client import EngineClient
from worker.engine.engine import Engine
from worker.engine.server import EngineServer
from worker.engine.session import Session
from worker.engine.shelf.shelf import Shelf

CPU = torch.device("cpu")
SECRET = b"s" * 32
SIZE = 16
SMALL = 8 * (3 * SIZE * SIZE + 1)  # bytes of a linear model's float64 weight and threshold
NAMES = ("one", "two", "three")


def create_shelf(folder: Path, *, room_for: float = 0, **changes: object) -> Shelf:
    """A shelf with room for so many of the small models; 0: no bound."""
    return Shelf(load_catalogue(folder), CPU, budget_bytes=int(room_for * SMALL), **changes)


def get_card(folder: Path, name: str):
    return load_catalogue(folder).get(name)


def create_spec(folder: Path, name: str, *, seed: int = 0) -> tuple[OpenSession, Image]:
    card = get_card(folder, name)
    size = card.preprocessing.size
    image = np.random.default_rng(seed).integers(60, 200, (3, size, size)).astype(np.uint8)
    request = CertifyRequest(
        input=InputImage(sha256=image_sha256(image), height=size, width=size, source="png"),
        model=ModelRef(id=card.id, sha256=card.sha256),
        targets=(TemplateTarget(template=card.template, class_names=card.class_names),),
        sigmas=(Decimal("0.5"),),
        procedure=CohenParameters(),
    )
    return create_session(request, {}, NOTHING_TUNED, Roll(request, SECRET).keys), image


def ask(engine: Engine, session: Session, n: int) -> None:
    wanted = CountRange(sigma_index=0, phase="estimation", start=0, stop=n)
    engine.request(session, wanted)


def count(engine: Engine, spec: OpenSession, image: Image, *, n: int = 128) -> list[int]:
    counted: list[RangeCounted] = []
    session = engine.open(spec, image, counted.append)
    ask(engine, session, n)
    while engine.step():
        pass
    engine.close(session)
    return np.sum([c.counts[0] for c in counted], axis=0).tolist()


def states(shelf: Shelf) -> dict[str, str]:
    return {s.model.id: s.state for s in shelf.list_states()}


def loaded(shelf: Shelf) -> set[str]:
    return {model.identity.model.id for model in shelf.list_loaded()}


def list_loads(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The models whose load began in a thread, in order."""
    return [event["model"] for event in list_events(caplog, "model_loading")]


def in_thread(call: Callable[[], object]) -> Future:
    pool = ThreadPoolExecutor(1)
    future = pool.submit(call)
    pool.shutdown(wait=False)
    return future


@contextmanager
def serving(shelf: Shelf, path: Path) -> Iterator[Path]:
    server = EngineServer(Engine(shelf), path)
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield path
    finally:
        server.stop()
        thread.join()


def connect(path: Path) -> EngineClient:
    return EngineClient.connect(path, wait_s=HANG_S)


def open_and_close(path: Path, spec: OpenSession, image: Image) -> bool:
    with connect(path) as client:
        return client.open(spec, image).identity.model.id == spec.model.id
