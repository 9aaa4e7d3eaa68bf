"""POST and GET /certifications/{id}/witness: once, beside a finished certification."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from io import BytesIO

import numpy as np
import pypdfium2
import pytest
from fastapi.testclient import TestClient
from httpx2 import Response
from PIL import Image
from pypdfium2.raw import FPDF_PAGEOBJ_IMAGE
from redis import Redis

from worker.contract import CertificationJob, Failure
from worker.contract.certificate.document import FinishedResult, LookCounts
from worker.contract.image import image_sha256
from worker.contract.witness import (
    CertificateWitness,
    Changed,
    FinishedWitness,
    NothingFound,
    WitnessSettings,
)
from worker.jobs.priority import list_waiting
from worker.jobs.witness import end, fail, name_rq_job
from worker.store import keyspace
from worker.store.images import get_image
from worker.store.jobs import records, results

Post = Callable[..., Response]
Finish = Callable[..., FinishedResult]


@pytest.fixture
def finished(redis: Redis, post: Post, finish: Finish) -> CertificationJob:
    job = records.find_job(redis, post().json()["id"])
    assert job is not None
    results.put_result(redis, job.id, finish(job, certain=True), ttl_s=600)
    return job


def create_witness(job: CertificationJob) -> tuple[FinishedWitness, np.ndarray]:
    """What a worker would store: the smoothed answer changed, of the undefended nothing found."""
    size = job.request.input.height
    pixels = np.random.default_rng(3).integers(0, 256, (3, size, size)).astype(np.uint8)
    change = Changed(
        class_index=1,
        prediction="above",
        distance=Decimal("0.54"),
        image_sha256=image_sha256(pixels),
        votes=LookCounts(n=100, counts=(20, 80), ambiguous=0),
    )
    one = CertificateWitness(
        certificate=0,
        sigma=Decimal("0.25"),
        prediction="below",
        radius=Decimal("0.36"),
        smoothed=change,
        undefended_prediction="below",
        undefended=NothingFound(farthest=Decimal("2.5")),
        alarm=False,
        statement="Proved up to 0.36; changed at 0.54.",
    )
    witness = FinishedWitness(
        settings=WitnessSettings(),
        alpha=Decimal("0.001"),
        noise_key="0" * 32,
        witnesses=(one,),
        seconds=1.5,
        finished_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    return witness, pixels


def address(job: CertificationJob) -> str:
    return f"/certifications/{job.id}/witness"


def test_a_witness_is_queued_once_however_often_it_is_asked_for(
    client: TestClient, redis: Redis, finished: CertificationJob
) -> None:
    assert client.get(address(finished)).json()["code"] == "witness_unknown"
    answers = [client.post(address(finished)) for _ in range(2)]
    assert [one.status_code for one in answers] == [202, 202]
    assert answers[0].headers["location"] == address(finished)
    assert answers[0].json()["status"] == "queued"
    assert client.get(address(finished)).json() == answers[0].json()
    waiting = [one for ids in list_waiting(redis).values() for one in ids]
    assert waiting.count(name_rq_job(finished.id)) == 1


def test_a_certification_that_has_not_finished_has_no_witness(
    client: TestClient, post: Post
) -> None:
    answer = client.post(f"/certifications/{post().json()['id']}/witness")
    assert (answer.status_code, answer.json()["code"]) == (409, "not_finished")


def test_without_its_image_none_is_looked_for(
    client: TestClient, redis: Redis, finished: CertificationJob
) -> None:
    redis.delete(keyspace.image(finished.request.input.sha256))
    answer = client.post(address(finished))
    assert (answer.status_code, answer.json()["code"]) == (410, "input_image_expired")


def test_what_was_found_is_shown_with_its_picture(
    client: TestClient, redis: Redis, finished: CertificationJob
) -> None:
    client.post(address(finished))
    witness, pixels = create_witness(finished)
    end(redis, finished.id, witness, {image_sha256(pixels): pixels})
    shown = client.post(address(finished))
    assert shown.status_code == 200
    assert client.get(address(finished)).json() == shown.json()
    own = json.loads(witness.model_dump_json())
    assert {name: shown.json()[name] for name in own} == own
    picture = client.get(f"{address(finished)}/0/smoothed.png")
    assert picture.headers["cache-control"] == "no-store"
    with Image.open(BytesIO(picture.content)) as found:
        assert np.array_equal(np.asarray(found).transpose(2, 0, 1), pixels)
    described = finished.request.input
    stored = get_image(redis, described.sha256, height=described.height, width=described.width)
    drawn = client.get(f"{address(finished)}/0/smoothed-difference.png")
    with Image.open(BytesIO(drawn.content)) as found:
        grey = np.asarray(found).transpose(2, 0, 1).astype(int)
    assert np.array_equal(grey, np.clip(128 + pixels.astype(int) - stored, 0, 255))
    for missing in ("0/undefended.png", "0/undefended-difference.png", "1/smoothed.png"):
        answer = client.get(f"{address(finished)}/{missing}")
        assert (answer.status_code, answer.json()["code"]) == (404, "witness_unknown")
    assert client.get(f"{address(finished)}/0/other.png").status_code in (404, 422)


def test_one_that_failed_says_why_and_is_tried_again(
    client: TestClient, redis: Redis, finished: CertificationJob
) -> None:
    client.post(address(finished))
    fail(redis, finished.id, Failure(code="witness_lost", detail="It was cut off."))
    shown = client.get(address(finished)).json()
    assert (shown["status"], shown["failure"]["code"]) == ("failed", "witness_lost")
    assert client.post(address(finished)).json()["status"] == "queued"


def test_purging_the_certification_removes_what_was_found(
    client: TestClient, redis: Redis, finished: CertificationJob
) -> None:
    witness, pixels = create_witness(finished)
    end(redis, finished.id, witness, {image_sha256(pixels): pixels})
    client.delete(f"/certifications/{finished.id}")
    assert client.get(address(finished)).json()["code"] == "certification_unknown"
    assert not redis.exists(keyspace.witness(finished.id))


def test_a_request_may_ask_for_it_and_is_the_same_roll(post: Post, redis: Redis) -> None:
    plain, asking = (
        records.find_job(redis, post(**fields).json()["id"]) for fields in ({}, {"witness": "true"})
    )
    assert plain is not None
    assert asking is not None
    assert (plain.witness, asking.witness) == (False, True)
    assert plain.request == asking.request


def test_an_alarm_is_counted_for_the_operator(
    client: TestClient, redis: Redis, finished: CertificationJob
) -> None:
    witness, pixels = create_witness(finished)
    wrong = witness.witnesses[0].model_copy(update={"alarm": True})
    alarm = witness.model_copy(update={"witnesses": (wrong,)})
    end(redis, finished.id, alarm, {image_sha256(pixels): pixels})
    assert 'promptsmooth_job_events_total{event="witness_alarm"} 1.0' in client.get("/metrics").text


def test_the_report_prints_what_was_found(
    client: TestClient, redis: Redis, finished: CertificationJob
) -> None:
    """Sentence, distances and an alarm, if there is one; without a witness nothing of it."""
    path = f"/certifications/{finished.id}/report.pdf"
    assert "witness" not in read_text(client.get(path).content)
    witness, pixels = create_witness(finished)
    end(redis, finished.id, witness, {image_sha256(pixels): pixels})
    text = read_text(client.get(path).content)
    assert "A witness from the other side" in text
    assert "smoothed: 0.54" in text
    assert "changed at 0.54" in text
    assert (count_pictures(client, path), count_pictures(client, f"{path}?picture=false")) == (3, 0)
    wrong = witness.witnesses[0].model_copy(update={"alarm": True})
    end(redis, finished.id, witness.model_copy(update={"witnesses": (wrong,)}), {})
    assert "ALARM" in read_text(client.get(path).content)


def count_pictures(client: TestClient, path: str) -> int:
    document, image = pypdfium2.PdfDocument(client.get(path).content), FPDF_PAGEOBJ_IMAGE
    return sum(len(list(page.get_objects(filter=[image]))) for page in document)


def read_text(pdf: bytes) -> str:
    document = pypdfium2.PdfDocument(pdf)
    return " ".join(page.get_textpage().get_text_range() for page in document)
