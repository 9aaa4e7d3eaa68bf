"""What a file does to its decoder does nothing to the app."""

import base64
import json
import threading
from collections.abc import Callable, Iterator

import numpy as np
import psutil
import pytest
from descendants import find_descendants
from dicom_files import dicom
from fastapi.testclient import TestClient
from httpx2 import Response
from redis import Redis
from waiting import wait_until

from app.main import create_app
from app.settings import AppSettings

Ids = Callable[[], list[str]]


@pytest.fixture
def brief(settings: AppSettings, redis: Redis) -> Iterator[TestClient]:
    """An app of its own decoder that has a second for each image."""
    hurried = settings.model_copy(update={"decode_timeout_s": 1.0})
    with TestClient(create_app(hurried), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def patient(settings: AppSettings, redis: Redis) -> Iterator[TestClient]:
    """An app of its own decoder that has all the time for an image."""
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        yield client


def send(client: TestClient, image: bytes) -> Response:
    return client.post("/certify", files={"image": image}, data={"sigma": "0.25"})


def test_app_answers_others_while_a_decoder_runs_out_of_time(
    brief: TestClient, slow_dicom: bytes, png: bytes, queued_ids: Ids
) -> None:
    answers: list[Response] = []
    threads = [
        threading.Thread(target=lambda: answers.append(send(brief, slow_dicom))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    answered = 0
    while any(thread.is_alive() for thread in threads):
        assert brief.get("/healthz").status_code == 200
        answered += all(thread.is_alive() for thread in threads)
    assert answered  # often, on a machine that is not busy
    for answer in answers:
        assert (answer.status_code, answer.json()["code"]) == (422, "decoding_timed_out")
        assert "within 1 s" in answer.json()["detail"]
    assert queued_ids() == []
    # On a machine that is busy, a second may be too short for this image too.
    wait_until(lambda: send(brief, png).status_code == 202)


def test_program_ended_at_work_is_503_and_the_next_image_is_taken(
    patient: TestClient, slow_dicom: bytes, png: bytes, queued_ids: Ids
) -> None:
    assert send(patient, png).status_code == 202
    programs = find_descendants(psutil.Process(), "models.imaging.decoder.program")
    newest = max(programs, key=lambda program: program.create_time())

    def kill() -> None:
        wait_until(newest.children, pause_s=0.01)
        newest.kill()

    thread = threading.Thread(target=kill)
    thread.start()
    answer = send(patient, slow_dicom)
    thread.join()
    assert (answer.status_code, answer.json()["code"]) == (503, "decoding_unavailable")
    assert int(answer.headers["retry-after"]) >= 1
    assert send(patient, png).status_code == 202
    assert len(queued_ids()) == 2


@pytest.fixture
def usual(settings: AppSettings, redis: Redis) -> Iterator[TestClient]:
    """An app with the default limits on bodies."""
    most = AppSettings.model_fields["max_body_bytes"].default
    usual = settings.model_copy(update={"max_body_bytes": most})
    with TestClient(create_app(usual), raise_server_exceptions=False) as client:
        yield client


def test_mammogram_of_60_mb_passes_with_the_default_limits(usual: TestClient) -> None:
    """An uncompressed one, as full-field detectors write them."""
    values = np.arange(6400 * 4700, dtype=np.uint16).reshape(6400, 4700) & 0x3FFF
    image = dicom(values, BitsStored=14, HighBit=13, WindowCenter=8192, WindowWidth=16384)
    assert len(image) > 60e6
    headers = {"content-type": "application/dicom"}
    shown = usual.post("/preview", files={"image": ("a", image)})
    assert (shown.status_code, shown.json()["height"]) == (200, 6400)
    sent = usual.post("/certify?sigma=0.25&n_max=100", content=image, headers=headers)
    assert sent.status_code == 202
    document = json.dumps({"image": [base64.b64encode(image).decode()], "sigma": ["0.25"]})
    headers = {"content-type": "application/json"}
    refused = usual.post("/certify", content=document, headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (413, "body_too_large")
    assert "base64" in refused.json()["detail"]
