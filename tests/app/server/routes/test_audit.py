"""POST /audit and GET /keys/signing."""

from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response
from redis import Redis

from worker.contract.certificate.document import FinishedResult
from worker.contract.certificate.signature import create_signing_key, encode_public_key, sign
from worker.store import keyspace
from worker.store.jobs import records, results

Post = Callable[..., Response]
Finish = Callable[..., FinishedResult]
SECRET = b"s" * 32
KEY = encode_public_key(create_signing_key(SECRET).public_key())


@pytest.fixture
def shown(post: Post, client: TestClient, redis: Redis, finish: Finish) -> dict:
    """A finished, signed certification as the service answers it."""
    redis.set(keyspace.SIGNING_KEY, KEY)
    job = records.find_job(redis, post().json()["id"])
    assert job is not None
    results.put_result(redis, job.id, sign(finish(job), SECRET), ttl_s=60)
    answer: dict = client.get(f"/certifications/{job.id}").json()
    return answer


def test_the_published_key_is_the_one_that_signs(client: TestClient, shown: dict) -> None:
    assert client.get("/keys/signing").json() == {"algorithm": "Ed25519", "public_key": KEY}
    assert shown["signature"]["public_key"] == KEY


def test_what_the_service_answers_passes_its_audit_as_it_is(
    client: TestClient, shown: dict
) -> None:
    # the made-up provenance of these tests names no noise table; a worker's does
    answer = client.post("/audit", json=shown).json()
    failed = [f["code"] for f in answer["findings"] if not f["holds"]]
    assert failed == ["parameters"]
    assert answer["unseen"]
    assert answer["key_compared"] is True
    assert answer["verdict"] == "DOES NOT HOLD: 1 finding"
    around = ["batch_id", "id", "image_index", "links", "status", "submitted_at"]
    assert answer["unsigned"] == around


def test_a_changed_document_fails_the_audit(client: TestClient, shown: dict) -> None:
    shown["certificates"][0]["radius"] += 0.000001
    answer = client.post("/audit", json=shown).json()
    assert not answer["holds"]
    assert {"signature", "radius"} <= {f["code"] for f in answer["findings"] if not f["holds"]}


@pytest.mark.parametrize("body", [b"", b"[]", b"nonsense", b'"text"'])
def test_what_is_no_json_object_is_a_problem(client: TestClient, body: bytes) -> None:
    answer = client.post("/audit", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"


def test_an_empty_object_is_an_audit_that_fails(client: TestClient, redis: Redis) -> None:
    redis.set(keyspace.SIGNING_KEY, KEY)
    assert client.post("/audit", json={}).json()["holds"] is False


def test_without_a_worker_there_is_no_key(client: TestClient) -> None:
    assert client.get("/keys/signing").status_code == 503
    assert client.post("/audit", json={}).status_code == 503
