"""Idempotency-Key: one submission, however often it is sent, by whom it was sent."""

import threading
from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response
from redis import Redis

from app.main import create_app
from app.server.access.caller import EVERYONE, Caller
from app.server.answers.problems import IdempotencyInProgress, Problem
from app.server.jobs.idempotency import ClaimedKey, claim, parse_key
from app.settings import AppSettings
from models.imaging import Decoder
from worker.store import keyspace

Post = Callable[..., Response]
Ids = Callable[[], list[str]]
KEY = {"Idempotency-Key": "8e03978e-40d5-43dd-bc93-6894a57f9324"}


def test_the_same_key_and_request_is_the_same_job_after_a_restart_too(
    post: Post, queued_ids: Ids, settings: AppSettings, png: bytes, decoder: Decoder
) -> None:
    first = post(headers=KEY)
    again = post(headers=KEY)
    assert (again.status_code, again.json()) == (first.status_code, first.json())
    assert again.headers["location"] == first.headers["location"]
    with TestClient(create_app(settings, decoder=decoder)) as restarted:
        form = {"files": {"image": ("other-name.png", png)}, "data": {"sigma": "0.250"}}
        quoted = {"Idempotency-Key": f'"{KEY["Idempotency-Key"]}"'}
        assert restarted.post("/certify", **form, headers=quoted).json() == first.json()
    assert queued_ids() == [first.json()["id"]]


def test_two_keys_of_one_request_are_refused(
    client: TestClient, png: bytes, queued_ids: Ids
) -> None:
    """Which of them counted would be a guess, and another proxy's guess another job."""
    two = [("Idempotency-Key", "one"), ("Idempotency-Key", "two")]
    form = {"files": {"image": ("a.png", png)}, "data": {"sigma": "0.25"}}
    answer = client.post("/certify", **form, headers=two)
    assert (answer.status_code, answer.json()["code"]) == (422, "field_repeated")
    assert queued_ids() == []


def test_a_batch_is_the_same_batch(post: Post, png: bytes, queued_ids: Ids) -> None:
    first = post(png, png, b"no image", headers=KEY).json()
    assert post(png, png, b"no image", headers=KEY).json() == first
    assert len(queued_ids()) == 2


def test_another_request_under_the_key_is_refused(post: Post, png: bytes, queued_ids: Ids) -> None:
    post(headers=KEY)
    for answer in (
        post(headers=KEY, sigma=["0.5"]),
        post(png, png, headers=KEY),
        post(png + b" ", headers=KEY),
    ):
        assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
    assert len(queued_ids()) == 1


def test_a_request_that_was_refused_leaves_its_key_free(
    post: Post, png: bytes, queued_ids: Ids
) -> None:
    assert post(b"no image", headers=KEY).status_code == 415
    assert post(headers=KEY).status_code == 202
    assert len(queued_ids()) == 1


def test_of_many_at_a_time_one_is_queued(post: Post, queued_ids: Ids) -> None:
    answers: list[Response] = []
    threads = [threading.Thread(target=lambda: answers.append(post(headers=KEY))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.status_code for answer in answers} <= {202, 409}
    accepted = {answer.json()["id"] for answer in answers if answer.status_code == 202}
    assert set(queued_ids()) == accepted
    assert len(accepted) == 1
    for answer in answers:
        if answer.status_code == 409:
            assert answer.json()["code"] == "idempotency_in_progress"
            assert answer.headers["retry-after"] == "1"


def test_a_key_belongs_to_its_caller(redis: Redis) -> None:
    for name in ("one", "two"):
        assert isinstance(claim(redis, Caller(name, frozenset()), "key", "0" * 64), ClaimedKey)
    with pytest.raises(IdempotencyInProgress):
        claim(redis, Caller("one", frozenset()), "key", "0" * 64)


def test_a_claim_that_ran_out_queues_nothing(redis: Redis) -> None:
    """Another request may have taken the key meanwhile: the transaction sees it and fails."""
    ours = claim(redis, EVERYONE, "key", "0" * 64)
    assert isinstance(ours, ClaimedKey)
    assert 0 < redis.ttl(ours.key) <= 60
    redis.delete(ours.key)
    other = claim(redis, EVERYONE, "key", "0" * 64)
    assert isinstance(other, ClaimedKey)
    with redis.pipeline() as pipeline, pytest.raises(IdempotencyInProgress):
        ours.watch(pipeline)
    ours.release(redis)
    assert redis.exists(ours.key)
    other.release(redis)
    assert not redis.exists(ours.key)


def test_a_purged_certification_is_gone_and_not_made_again(
    post: Post, client: TestClient, queued_ids: Ids
) -> None:
    path = post(headers=KEY).headers["location"]
    for _ in range(2):
        client.delete(path)
    answer = post(headers=KEY)
    assert (answer.status_code, answer.json()["code"]) == (410, "certification_gone")
    assert queued_ids() == []


def test_a_key_lives_as_long_as_the_setting_says(
    post: Post, redis: Redis, settings: AppSettings
) -> None:
    post(headers=KEY)
    (name,) = redis.keys(keyspace.idempotency("*", "*"))
    assert KEY["Idempotency-Key"].encode() not in name
    assert settings.idempotency_ttl_s - 60 < redis.ttl(name) <= settings.idempotency_ttl_s


@pytest.mark.parametrize("key", ["", '""', "a b", "x" * 256, "é"])
def test_what_is_no_key_is_refused(key: str) -> None:
    with pytest.raises(Problem, match="visible ASCII"):
        parse_key(key)
