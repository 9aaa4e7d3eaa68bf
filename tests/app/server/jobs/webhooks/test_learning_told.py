"""The end of a learning is told as that of a certification is."""

import zipfile
from collections.abc import Callable
from io import BytesIO

import numpy as np
import pytest
from fastapi.testclient import TestClient
from httpx2 import Response
from redis import Redis
from waiting import wait_until

from models.files.audit_log import AuditLog
from worker.contract import LEARNING_QUEUE_NAME, Failure
from worker.contract.learning import FailedLearning
from worker.jobs.queue import create_queue
from worker.learning import store as learning_store
from worker.learning.queue import give_up
from worker.store.jobs import callbacks

from .conftest import Receiver, is_settled, read_entries

Give = Callable[..., str]
Learn = Callable[..., Response]
FAILED = FailedLearning(failure=Failure(code="image_expired", detail="An image has expired."))


@pytest.fixture
def learn(client: TestClient, encode: Callable[..., bytes]) -> Learn:
    """Sends a good request to POST /prompts/learn, apart from what is said."""
    rng, packed = np.random.default_rng(3), BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path in ("a hand/1.png", "a hand/2.png", "a chest/1.png", "a chest/2.png"):
            archive.writestr(path, encode(rng.integers(0, 256, (70, 64, 3), dtype=np.uint8)))

    def send(**fields: object) -> Response:
        data = {"id": "lungs", "model": "bundled-2", "shots": "2"} | fields
        return client.post("/prompts/learn", files={"zip": packed.getvalue()}, data=data)

    return send


@pytest.mark.parametrize("end", ["failed", "given up", "cancelled"])
def test_each_end_of_a_learning_is_told_once_with_id_and_status_alone(
    learn: Learn, client: TestClient, redis: Redis, receiver: Receiver, give_secret: Give, end: str
) -> None:
    secret = give_secret()
    sent = learn(callback_url=f"{receiver.origin}/hooks")
    assert sent.status_code == 202, sent.text
    job_id = sent.json()["id"]
    if end == "cancelled":
        client.delete(f"/prompt-jobs/{job_id}")
    elif end == "failed":
        assert learning_store.put_result(redis, job_id, FAILED, ttl_s=60)
    else:
        give_up(redis, job_id, "its worker ended", ttl_s=60)
    assert not learning_store.put_result(redis, job_id, FAILED, ttl_s=60)
    wait_until(lambda: is_settled(redis))
    (message,) = receiver.read(secret)
    status = "cancelled" if end == "cancelled" else "failed"
    assert message["type"] == f"learning.{status}"
    assert message["data"] == {"id": job_id, "status": status}
    ((headers, _),) = receiver.came
    assert headers["webhook-id"] == f"msg_{job_id}"


def test_the_default_address_of_the_key_is_told_of_learnings_too(
    learn: Learn, client: TestClient, redis: Redis, receiver: Receiver, give_secret: Give
) -> None:
    secret = give_secret(url=f"{receiver.origin}/default")
    client.delete(learn().json()["links"]["self"])
    wait_until(lambda: is_settled(redis))
    assert [one["type"] for one in receiver.read(secret)] == ["learning.cancelled"]


def test_an_address_that_is_not_allowed_queues_no_learning(
    learn: Learn, redis: Redis, receiver: Receiver, give_secret: Give
) -> None:
    assert learn(callback_url=receiver.origin).json()["errors"][0]["field"] == "callback_url"
    give_secret()
    for url in ("https://evil.example/", "nonsense", "http://user@127.0.0.1/"):
        refused = learn(callback_url=url)
        assert (refused.status_code, refused.json()["code"]) == (422, "request_invalid")
        assert "evil" not in refused.text
    assert create_queue(redis, LEARNING_QUEUE_NAME).job_ids == []


def test_the_same_request_again_says_anew_where_its_end_is_told(
    learn: Learn, redis: Redis, receiver: Receiver, give_secret: Give
) -> None:
    secret = give_secret()
    first = learn().json()
    for path in ("first", "second"):
        assert learn(callback_url=f"{receiver.origin}/{path}").json()["id"] == first["id"]
    key = callbacks.find_key(f"learning:{first['id']}")
    assert redis.hget(key, "url") == f"{receiver.origin}/second".encode()
    learning_store.put_result(redis, first["id"], FAILED, ttl_s=60)
    wait_until(lambda: is_settled(redis))
    assert len(receiver.read(secret)) == 1


def test_the_same_request_again_without_an_address_leaves_the_first_one(
    learn: Learn, redis: Redis, receiver: Receiver, give_secret: Give
) -> None:
    give_secret(url=f"{receiver.origin}/default")
    first = learn(callback_url=f"{receiver.origin}/first").json()
    assert learn().json()["id"] == first["id"]
    key = callbacks.find_key(f"learning:{first['id']}")
    assert redis.hget(key, "url") == f"{receiver.origin}/first".encode()


def test_a_learning_that_ended_in_between_notes_no_address_that_nobody_would_call(
    redis: Redis, learn: Learn, receiver: Receiver, give_secret: Give
) -> None:
    give_secret()
    job_id = learn().json()["id"]
    learning_store.put_result(redis, job_id, FAILED, ttl_s=60)
    told = callbacks.Callback(
        kind="learning",
        job_id=job_id,
        owner="anonymous",
        url=f"{receiver.origin}/late",
        target=receiver.origin,
    )
    ended = learning_store.keyspace.learning_result(job_id)
    callbacks.note_while_open(redis, told, ended, ttl_s=60)
    assert is_settled(redis)


def test_attempts_that_failed_count_and_the_audit_log_names_the_learning(
    redis: Redis, receiver: Receiver, give_secret: Give, deliver: Callable[..., None], tmp_path
) -> None:
    secret, job_id = give_secret(), "0" * 32
    told = callbacks.Callback(
        kind="learning",
        job_id=job_id,
        owner="anonymous",
        url=receiver.origin,
        target=receiver.origin,
    )
    callbacks.note_callback(redis, told, ttl_s=60)
    learning_store.put_result(redis, job_id, FAILED, ttl_s=60)
    receiver.statuses = [503, 302]
    deliver(lambda: is_settled(redis), log=AuditLog(tmp_path / "audit", max_bytes=10**6))
    assert [one["data"]["id"] for one in receiver.read(secret)] == [job_id] * 3
    (entry,) = read_entries(tmp_path / "audit", "webhook.delivered")
    assert (entry["learning_id"], entry["attempts"]) == (job_id, 3)
    assert "certification_id" not in entry
