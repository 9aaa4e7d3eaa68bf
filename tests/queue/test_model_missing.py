"""A job for a model that the host has not ends at once, with the reason as its result."""

import threading
from pathlib import Path

import pytest
import torch

from models.catalogue import load_catalogue
from models.testing import create_linear_model, write_linear_model
from worker.contract import ModelRef
from worker.contract.certificate.document import FailedResult, FinishedResult
from worker.engine.engine import Engine
from worker.engine.server import EngineServer
from worker.engine.shelf.shelf import Shelf
from worker.jobs.certify import run_certification
from worker.store.jobs import results


@pytest.fixture
def host(settings, tmp_path: Path):
    """Settings of a host whose engine knows four models and has loaded none."""
    folder = tmp_path / "models"
    for name in ("there", "gone", "torn"):
        write_linear_model(folder, create_linear_model(size=16), model_id=name)
    (folder / "gone" / "linear.safetensors").unlink()
    with (folder / "torn" / "linear.safetensors").open("ab") as file:
        file.write(b"?")
    shelf = Shelf(load_catalogue(folder), torch.device("cpu"))
    changed = settings.model_copy(
        update={"models": folder, "engine_socket": tmp_path / "several.sock"}
    )
    server = EngineServer(Engine(shelf), changed.socket_path)
    thread = threading.Thread(target=server.serve)
    thread.start()
    yield changed
    server.stop()
    thread.join()


@pytest.mark.parametrize(
    ("model_id", "code"),
    [
        ("gone", "model_missing"),
        ("torn", "model_digest_mismatch"),
        ("unheard-of", "model_not_served"),
    ],
)
def test_a_job_for_a_model_that_is_not_there_fails_at_once(redis, host, submit, model_id, code):
    known = load_catalogue(host.models)
    sha256 = known.get(model_id).sha256 if model_id in known.entries else "0" * 64
    job = submit(model=ModelRef(id=model_id, sha256=sha256))
    run_certification(redis, host, job.id)
    result = results.find_result(redis, job.id)
    assert isinstance(result, FailedResult)
    assert result.failure.code == code


def test_a_job_for_a_model_that_is_not_loaded_loads_it(redis, host, submit):
    card = load_catalogue(host.models).get("there")
    job = submit(model=ModelRef(id="there", sha256=card.sha256))
    run_certification(redis, host, job.id)
    result = results.find_result(redis, job.id)
    assert isinstance(result, FinishedResult)
    assert result.model == ModelRef(id="there", sha256=card.sha256)
