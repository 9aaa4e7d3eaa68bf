"""An engine behind a socket with a linear model, and jobs as the app would store them."""

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

from models.catalogue import load_catalogue
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
from worker.sampling.keys import commitment, create_secret, load_secret
from worker.settings import WorkerSettings
from worker.store import hosts

SIZE = 16


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
        engine_wait_s=2,
    )
    create_secret(made.secret_path)
    hosts.publish_keys(redis, commitment(load_secret(made.secret_path)), "")
    return made


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
        queue.accept_jobs(redis, [(job, image)], image_ttl_s=600, job_ttl_s=600)
        return job

    return submit_one
