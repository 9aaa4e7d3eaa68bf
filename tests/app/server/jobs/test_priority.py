"""Priorities over HTTP: who may ask for which, in each form, and whom a full queue keeps out."""

import base64
from collections.abc import Callable, Iterator

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response
from redis import Redis

from app.main import create_app
from app.server.access.api_keys import ApiKey
from app.settings import AppSettings
from models.imaging import Decoder
from worker.contract import PRIORITIES
from worker.jobs.priority import list_waiting
from worker.store import keyspace
from worker.store.jobs import records

MakeKey = Callable[..., tuple[ApiKey, dict[str, str]]]
Post = Callable[..., Response]


def _send(client: TestClient, png: bytes, headers: dict[str, str], **fields: str) -> Response:
    data = {"sigma": "0.25", **fields}
    return client.post("/certify", files={"image": png}, data=data, headers=headers)


def test_urgent_needs_the_scope_of_that_name(
    guarded: TestClient, make_key: MakeKey, png: bytes, redis: Redis
) -> None:
    _, usual = make_key("submit", "read", "admin")
    refused = _send(guarded, png, usual, priority="urgent")
    assert (refused.status_code, refused.json()["code"]) == (403, "scope_missing")
    assert not list(redis.scan_iter("*certification*"))
    for priority in ("normal", "batch"):
        assert _send(guarded, png, usual, priority=priority).status_code == 202
    _, urgent = make_key("submit", "urgent")
    assert _send(guarded, png, urgent, priority="urgent").status_code == 202


@pytest.mark.parametrize("priority", PRIORITIES)
def test_each_form_of_a_request_has_the_field(
    client: TestClient, png: bytes, redis: Redis, priority: str
) -> None:
    fields = {"sigma": "0.25", "priority": priority}
    images = [("image", png), ("image", png)]
    document = {"image": [base64.b64encode(png).decode()], "sigma": [0.25], "priority": priority}
    answers = [
        client.post("/certify", files=images, data=fields),
        client.post("/certify/json", json=document),
        client.post(
            "/certify/file", content=png, params=fields, headers={"content-type": "image/png"}
        ),
    ]
    assert [answer.status_code for answer in answers] == [202] * 3
    batch, *single = (answer.json() for answer in answers)
    for sent in (*batch["certifications"], *single):
        job = records.find_job(redis, sent["id"])
        assert job is not None
        assert job.priority == priority
    waiting = list_waiting(redis)
    assert sum(map(len, waiting.values())) == 4
    assert len(waiting[priority]) >= 3  # the first fills RQ's queue


@pytest.mark.parametrize("value", ["Urgent", "highest", "no1", "urgent,normal"])
def test_another_priority_is_refused_by_its_rule(post: Post, value: str) -> None:
    answer = post(priority=value)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "priority")
    assert value not in answer.text


def test_a_request_that_names_no_priority_is_the_request_that_it_was(
    post: Post, redis: Redis
) -> None:
    """Idempotency keys of the release before lead on, and its workers read the job."""
    headers = {"Idempotency-Key": "same"}
    first = post(headers=headers)
    assert post(headers=headers).json()["id"] == first.json()["id"]
    other = post(headers=headers, priority="batch")
    assert other.json()["code"] == "idempotency_key_reused"
    assert b"priority" not in redis.get(keyspace.job(first.json()["id"]))


@pytest.fixture
def small(
    settings: AppSettings, redis: Redis, png: bytes, decoder: Decoder
) -> Iterator[Callable[[str], Response]]:
    """Posts to an app in which three jobs may wait before another."""
    with TestClient(
        create_app(settings.model_copy(update={"max_queued_jobs": 3}), decoder=decoder)
    ) as client:
        yield lambda priority: _send(client, png, {}, priority=priority)


def test_a_queue_full_of_batches_keeps_out_batches_alone(
    small: Callable[[str], Response],
) -> None:
    sent = ["batch"] * 4 + ["normal"] * 3 + ["urgent"] * 4
    statuses = [small(priority).status_code for priority in sent]
    assert statuses == [202, 202, 202, 503, 202, 202, 503, 202, 202, 202, 503]


def test_a_queued_job_is_told_its_place_among_all(post: Post, client: TestClient) -> None:
    sent = [post(priority=one, attempt=str(i)) for i, one in enumerate(("normal", *PRIORITIES))]
    places = [client.get(one.headers["location"]).json()["queue_position"] for one in sent]
    assert places == [2, 1, 3, 4]
