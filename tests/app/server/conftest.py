"""The app over a real queue. No worker runs: tests put results where a worker would."""

from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from httpx2 import Response
from PIL import Image
from redis import Redis
from waiting import HANG_S

from app.main import create_app
from app.server.access.api_keys import ApiKey, Scope, change_keys, create_key
from app.server.access.operator_file import now_utc
from app.settings import AppSettings
from models.imaging import Decoder
from models.testing import create_linear_model, write_linear_model
from worker.certification import Phase, Tally
from worker.contract import CertificationJob
from worker.contract.attempt import Attempt
from worker.contract.certificate.document import FinishedResult, Provenance
from worker.counting.certificates import Counted, create_certificate
from worker.counting.contests import create_contest, create_procedure
from worker.jobs.queue import create_queue

Post = Callable[..., Response]
Encode = Callable[..., bytes]
Finish = Callable[..., FinishedResult]
MakeKey = Callable[..., tuple[ApiKey, dict[str, str]]]


def _encode(pixels: np.ndarray, file_format: str = "PNG") -> bytes:
    file = BytesIO()
    Image.fromarray(pixels).save(file, format=file_format)
    return file.getvalue()


@pytest.fixture(scope="session")
def encode() -> Encode:
    """Makes an image file of pixels, uint8 or uint16 (H, W) or uint8 (H, W, 3)."""
    return _encode


@pytest.fixture(scope="session")
def png() -> bytes:
    return _encode(np.random.default_rng(7).integers(0, 256, (80, 72, 3), dtype=np.uint8))


@pytest.fixture(scope="session")
def models_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installation's own model beside the one that ships."""
    folder = tmp_path_factory.mktemp("models")
    write_linear_model(folder, create_linear_model())
    return folder


@pytest.fixture
def settings(valkey_url: str, models_folder: Path) -> AppSettings:
    return AppSettings(
        redis_url=valkey_url,
        models=models_folder,
        max_images=3,
        max_body_bytes=2_000_000,
        wait_cap_s=300,
        decode_timeout_s=HANG_S,
    )


@pytest.fixture
def client(settings: AppSettings, redis: Redis, decoder: Decoder) -> Iterator[TestClient]:
    app = create_app(settings, decoder=decoder)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def keys_file(tmp_path: Path) -> Path:
    """Where `make_key` puts keys."""
    return tmp_path / "keys.toml"


@pytest.fixture
def make_key(keys_file: Path) -> MakeKey:
    """Makes a key; the key as it is stored, and the headers that carry it."""

    def make(*scopes: Scope, **fields: object) -> tuple[ApiKey, dict[str, str]]:
        with change_keys(keys_file) as keys:
            key, token = create_key("a test's", scopes, now=now_utc(), **fields)
            keys.append(key)
        return key, {"Authorization": f"Bearer {token}"}

    return make


@pytest.fixture
def guarded(
    settings: AppSettings, keys_file: Path, redis: Redis, make_key: MakeKey, decoder: Decoder
) -> Iterator[TestClient]:
    """The app with a file of keys."""
    make_key("read")
    guarded = settings.model_copy(update={"keys_file": keys_file})
    with TestClient(create_app(guarded, decoder=decoder), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def post(client: TestClient, png: bytes) -> Post:
    """Sends a good request to POST /certify, apart from what is said."""

    def send(*images: bytes, headers: dict[str, str] | None = None, **fields: object) -> Response:
        files = [("image", ("scan.png", image, "image/png")) for image in images or (png,)]
        return client.post(
            "/certify", files=files, data={"sigma": ["0.25"], **fields}, headers=headers or {}
        )

    return send


@pytest.fixture
def queued_ids(redis: Redis) -> Callable[[], list[str]]:
    """The ids that RQ holds for workers, in order."""
    return lambda: list(create_queue(redis).job_ids)


@pytest.fixture(scope="session")
def finish() -> Finish:
    """Makes what a worker stores for a job, from counts made up but certified for real."""
    return _finish


def _finish(job: CertificationJob, *, certain: bool = True) -> FinishedResult:
    request = job.request
    return FinishedResult(
        model=request.model,
        input=request.input,
        certificates=tuple(
            _certificate(job, i, certain=certain) for i in range(len(request.sigmas))
        ),
        provenance=Provenance(
            sampler="philox4x64-10/rounded-gaussian-255/1",
            key_commitment="0" * 64,
            noise_keys={"selection": "0" * 32, "estimation": "1" * 32},
            table_sha256={},
            precision="fp32",
            device_class="cpu",
            device="test",
            threads=1,
            batch_size=64,
            tau=0.0,
            versions={},
        ),
    )


def _certificate(job: CertificationJob, sigma_index: int, *, certain: bool) -> object:
    """The document of all votes for the first class, or of half of them."""
    procedure = create_procedure(job.request)
    target, sigma = job.request.targets[0], job.request.sigmas[sigma_index]
    looks: dict[Phase, tuple[Tally, ...]] = {"selection": (), "estimation": ()}
    while goals := procedure.find_goals(looks, sigma=float(sigma)):
        for goal in goals:
            top = goal.n if certain else goal.n // 2
            votes = (top, goal.n - top, *(0,) * (len(target.class_names) - 2))
            looks[goal.phase] = (*looks[goal.phase], Tally(counts=votes))
    roots = {phase: "0" * 64 for phase, made in looks.items() if made}
    counted = Counted(contest=create_contest(job.request, target), looks=[looks], roots=[roots])
    return create_certificate(
        job.request, sigma_index, 0, counted=counted, attempt=Attempt(number=1)
    )
