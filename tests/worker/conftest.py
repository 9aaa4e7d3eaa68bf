"""An engine with a linear model, in process and behind a socket; requests on it and jobs."""

import itertools
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
import torch
from redis import Redis
from redis.client import Pipeline
from waiting import HANG_S, NEVER_S

from models.catalogue import load_catalogue
from models.catalogue.cards import ModelCard
from models.loading.loading import load_vlm
from worker.contract import (
    CertificationJob,
    CertifyRequest,
    CohenParameters,
    InputImage,
    ModelRef,
    TemplateTarget,
)
from worker.contract.image import Image, image_sha256
from worker.engine.engine import Engine
from worker.engine.server import EngineServer
from worker.engine.shelf.shelf import Shelf
from worker.jobs import queue
from worker.key_secret import SECRET_BYTES, commitment, load_secret
from worker.sampling.table import NoiseTable
from worker.settings import WorkerSettings
from worker.store import hosts

SIZE = 16
SECRET = b"s" * SECRET_BYTES  # one noise in every run, so that a test finds today what it found


class WatchedPipeline(Pipeline):
    """A pipeline that shows its commands before they are sent."""

    before: Callable[[list[tuple]], None]

    def execute(self, raise_on_error: bool = True) -> list:
        self.before([command for command, _ in self.command_stack])
        return super().execute(raise_on_error)


class WatchedRedis(Redis):
    """A connection whose transactions are shown before they are sent."""

    before: Callable[[list[tuple]], None]

    def pipeline(self, transaction: bool = True, shard_hint: object = None) -> WatchedPipeline:
        pipeline = WatchedPipeline(
            self.connection_pool, self.response_callbacks, transaction, shard_hint
        )
        pipeline.before = self.before
        return pipeline


@pytest.fixture(scope="session")
def cards(models_folder: Path) -> dict[str, ModelCard]:
    return {card.id: card for card in load_catalogue(models_folder).list()}


@pytest.fixture(scope="session")
def engine(models_folder: Path) -> Engine:
    catalogue = load_catalogue(models_folder)
    device = torch.device("cpu")
    vlms = [
        load_vlm(catalogue.get(name), catalogue.folder(name), device)
        for name in ("bundled-2", "linear")
    ]
    return Engine(Shelf.holding(vlms))


@pytest.fixture(scope="session")
def create_request(cards: dict[str, ModelCard]) -> Callable[..., tuple[CertifyRequest, np.ndarray]]:
    """A request on a model with an image made from a seed, all else as given."""

    def create(
        model: str = "linear", *, seed: int = 0, sigmas=("0.25",), n0=20, n=300, **changes: object
    ) -> tuple[CertifyRequest, np.ndarray]:
        card = cards[model]
        size = card.preprocessing.size
        rng = np.random.default_rng(seed)
        image = rng.integers(60, 200, (3, size, size)).astype(np.uint8)
        fields = {
            "input": InputImage(sha256=image_sha256(image), height=size, width=size, source="png"),
            "model": ModelRef(id=model, sha256=card.sha256),
            "targets": (TemplateTarget(template=card.template, class_names=card.class_names),),
            "sigmas": tuple(Decimal(s) for s in sigmas),
            "procedure": CohenParameters(n0=n0, n=n),
        }
        return CertifyRequest(**(fields | changes)), image

    return create


@pytest.fixture(scope="session")
def engine_socket(models_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    catalogue = load_catalogue(models_folder)
    vlm = load_vlm(catalogue.get("linear"), catalogue.folder("linear"), torch.device("cpu"))
    path = tmp_path_factory.mktemp("engine") / "engine.sock"
    server = EngineServer(Engine(Shelf.holding([vlm])), path)
    thread = threading.Thread(target=server.serve)
    thread.start()
    yield path
    server.stop()
    thread.join()


@pytest.fixture
def settings(
    redis: Redis, valkey_url: str, engine_socket: Path, models_folder: Path, tmp_path: Path
) -> WorkerSettings:
    """Those of a host that has started: its secret is made and Redis is bound to it."""
    made = WorkerSettings(
        redis_url=valkey_url,
        data_dir=tmp_path,
        engine_socket=engine_socket,
        models=models_folder,
        serve_models=("linear",),
        engine_wait_s=HANG_S,
    )
    made.secret_path.write_bytes(SECRET)
    hosts.publish_keys(redis, commitment(load_secret(made.secret_path)), "")
    return made


@pytest.fixture
def watch(valkey_url: str) -> Iterator[Callable[..., Redis]]:
    """Opens a connection to the same Redis that acts before transactions are sent.

    `act` is called with 1, 2, ... and the commands, for each transaction that has a command on
    `key`; without a key for each of all. What it raises comes in place of the transaction.
    """
    opened = []

    def open_watched(act: Callable[[int, list[tuple]], object], key: str | None = None) -> Redis:
        count = itertools.count(1)

        def before(commands: list[tuple]) -> None:
            if key is None or any(len(command) > 1 and command[1] == key for command in commands):
                act(next(count), commands)

        connection = WatchedRedis.from_url(valkey_url)
        connection.before = before
        opened.append(connection)
        return connection

    yield open_watched
    for connection in opened:
        connection.close()


@pytest.fixture
def create_job(models_folder: Path) -> Callable[..., tuple[CertificationJob, Image]]:
    card = load_catalogue(models_folder).get("linear")

    def create(*, seed: int = 0, n: int = 300, **changes: object) -> tuple[CertificationJob, Image]:
        rng = np.random.default_rng(seed)
        image = rng.integers(60, 200, (3, SIZE, SIZE)).astype(np.uint8)
        fields = {
            "input": InputImage(sha256=image_sha256(image), height=SIZE, width=SIZE, source="png"),
            "model": ModelRef(id="linear", sha256=card.sha256),
            "targets": (TemplateTarget(template=card.template, class_names=card.class_names),),
            "sigmas": (Decimal("0.1"), Decimal("0.25")),
            "procedure": CohenParameters(n0=20, n=n),
        }
        job = CertificationJob(
            id=uuid4().hex,
            request=CertifyRequest(**(fields | changes)),
            submitted_at=datetime.now(UTC),
        )
        return job, image

    return create


@pytest.fixture
def submit(redis: Redis, create_job) -> Callable[..., CertificationJob]:
    def submit_one(**changes: object) -> CertificationJob:
        job, image = create_job(**changes)
        queue.accept_jobs(redis, [(job, image)], image_ttl_s=NEVER_S, job_ttl_s=NEVER_S)
        return job

    return submit_one


@pytest.fixture
def create_table() -> Callable[[list[int]], NoiseTable]:
    """Makes the table that has these thresholds, each exactly where a word lies."""
    return _create_table


def _create_table(thresholds: list[int]) -> NoiseTable:
    cells = np.arange(2**16, dtype=np.uint64) << np.uint64(48)
    array = np.array(sorted(thresholds), dtype=np.uint64)
    guide = np.append(np.searchsorted(array, cells), len(array)).astype(np.int32)
    return NoiseTable(
        sigma=Decimal(1), first_index=-1, thresholds=array, guide=guide, sha256="0" * 64
    )
