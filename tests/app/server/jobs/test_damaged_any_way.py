"""Records that are damaged in any way are named, skipped in lists, and can be deleted."""

import json
from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response
from logged import list_events
from redis import Redis

from app.server.audit_log.outcomes import write_outcomes
from models.files.audit_log import AuditLog
from worker.contract import ANONYMOUS, QUEUE_NAME
from worker.contract.certificate.signature import (
    create_signing_key,
    encode_public_key,
    sign,
)
from worker.store import keyspace
from worker.store.jobs import records, results

SECRET = b"s" * 32
Post = Callable[..., Response]
DAMAGES: dict[str, Callable[[Redis, str], object]] = {
    "nothing in it": lambda redis, key: redis.set(key, b""),
    "noise": lambda redis, key: redis.set(key, bytes(range(256))),
    "cut off": lambda redis, key: redis.set(key, b'{"id": "0'),
    "another document": lambda redis, key: redis.set(key, b'{"a": [1]}'),
    "a number": lambda redis, key: redis.set(key, b"7"),
    "a list": lambda redis, key: redis.rpush(key, "a"),
    "a hash": lambda redis, key: redis.hset(key, "a", "b"),
    "a set": lambda redis, key: redis.sadd(key, "a"),
}
RECORDS = ("job", "result", "progress", "checkpoint", "cost")


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("record", RECORDS)
def test_a_damaged_record_harms_itself_alone_and_can_be_deleted(
    client: TestClient, redis: Redis, post: Post, record: str, damage
) -> None:
    broken, sound = (post().json()["id"] for _ in range(2))
    key, path = getattr(keyspace, record)(broken), f"/certifications/{broken}"
    redis.delete(key)
    damage(redis, key)

    for part in ("", "/report.pdf", "/votes?sample=0", "/input.png"):
        answer = client.get(path + part)
        assert answer.status_code < 500 or answer.json()["code"] == "record_damaged"
    listed = client.get("/certifications")
    assert listed.status_code == 200
    ids = [one["id"] for one in listed.json()["certifications"]]
    assert sound in ids
    assert (broken in ids) == (record != "job")
    assert post().status_code == 202
    for _ in range(2):  # cancelled, then purged
        gone = client.delete(path)
        assert gone.status_code in (200, 204)
        if gone.status_code == 204:
            break
    assert client.get(path).status_code == 404
    assert not [
        key for key in redis.scan_iter(f"{keyspace.PREFIX}:*{broken}*") if b":cancel" not in key
    ]
    assert redis.zscore(keyspace.ALL_LISTED, broken) is None
    assert redis.zscore(keyspace.listed(ANONYMOUS), broken) is None


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_stream_ends_when_its_job_or_result_is_damaged(
    client: TestClient, redis: Redis, post: Post, damage, caplog: pytest.LogCaptureFixture
) -> None:
    certification_id = post().json()["id"]
    damage(redis, keyspace.result(certification_id))
    with client.stream("GET", f"/certifications/{certification_id}/events") as answer:
        lines = [line for line in answer.iter_lines() if line.startswith(("event:", "data:"))]
    assert lines[-2] == "event: done"
    assert json.loads(lines[-1].removeprefix("data:"))["failure"]["code"] == "record_damaged"
    said = list_events(caplog, "record_damaged")
    assert {one["certification_id"] for one in said} == {certification_id}


def test_a_damaged_job_of_another_key_does_not_exist(
    guarded: TestClient, make_key, redis: Redis, png: bytes
) -> None:
    (_, owner), (_, other), (_, admin) = (
        make_key("submit", "read"),
        make_key("submit", "read"),
        make_key("admin"),
    )
    sent = guarded.post("/certify", files={"image": png}, data={"sigma": "0.25"}, headers=owner)
    path = sent.json()["links"]["self"]
    redis.set(keyspace.job(sent.json()["id"]), b"{")
    assert guarded.get(path, headers=other).status_code == 404
    assert guarded.delete(path, headers=other).status_code == 404
    assert guarded.get(path, headers=owner).json()["code"] == "record_damaged"
    assert guarded.get(path, headers=admin).json()["code"] == "record_damaged"
    assert guarded.delete(path, headers=owner).status_code == 204


def test_a_damaged_batch_is_named_and_its_certifications_are_there(
    client: TestClient, redis: Redis, post: Post, png: bytes
) -> None:
    batch = post(png, png).json()
    redis.delete(keyspace.batch(batch["id"]))
    redis.set(keyspace.batch(batch["id"]), "x")
    assert client.get(f"/batches/{batch['id']}").json()["code"] == "record_damaged"
    for one in batch["certifications"]:
        assert client.get(one["links"]["self"]).status_code == 200


def test_a_certificate_that_was_edited_is_not_shown_as_certified(
    client: TestClient, redis: Redis, post: Post, finish
) -> None:
    certification_id = post().json()["id"]
    path = f"/certifications/{certification_id}"
    result = sign(finish(records.find_job(redis, certification_id)), SECRET)
    results.put_result(redis, certification_id, result, ttl_s=60)
    own = encode_public_key(create_signing_key(SECRET).public_key())
    redis.set(keyspace.SIGNING_KEY, own)
    assert client.get(path).json()["status"] == "finished"
    assert client.get("/certifications").json()["certifications"][0]["outcomes"]

    stored = redis.get(keyspace.result(certification_id)).decode()
    unsigned = result.model_copy(update={"signature": None}).model_dump_json()
    forged = sign(result, b"o" * 32).model_dump_json()
    prediction = result.certificates[0].prediction
    for edited in (stored.replace(prediction, "somewhat else"), unsigned, forged):
        redis.set(keyspace.result(certification_id), edited)
        shown = client.get(path).json()
        assert (shown["status"], shown["failure"]["code"]) == ("failed", "record_damaged")
        assert not client.get("/certifications").json()["certifications"][0].get("outcomes")
        assert client.get(f"{path}/report.pdf").status_code == 409


def test_a_damaged_result_keeps_no_other_outcome_from_the_audit_log(
    redis: Redis, post: Post, finish, tmp_path
) -> None:
    broken, sound = (post().json()["id"] for _ in range(2))
    for each in (broken, sound):
        result = finish(records.find_job(redis, each))
        results.put_result(redis, each, result, ttl_s=60)
        redis.zadd(keyspace.audit_awaited(QUEUE_NAME), {each: 1})
    redis.set(keyspace.result(broken), b"{")
    log = AuditLog(tmp_path / "audit", max_bytes=10**6)
    write_outcomes(log, redis)
    (file,) = (tmp_path / "audit").glob("*.jsonl")
    entries = [json.loads(line) for line in file.read_text().splitlines()]
    assert {entry["certification_id"]: entry["status"] for entry in entries} == {
        broken: "failed",
        sound: "finished",
    }
