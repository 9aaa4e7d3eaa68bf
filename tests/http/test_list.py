"""GET /certifications: every one once, newest first, whatever happens between pages."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response
from redis import Redis
from rq.job import JobStatus

from worker.contract.certificate.document import FinishedResult
from worker.jobs.queue import fetch_job
from worker.store import keyspace
from worker.store.jobs import records, results

Post = Callable[..., Response]
Finish = Callable[..., FinishedResult]


def _pages(client: TestClient, path: str) -> list[list[str]]:
    pages, seen = [], None
    while path is not None:
        answer = client.get(path)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        assert answer.headers.get("link") == (page["next"] and f'<{page["next"]}>; rel="next"')
        pages.append([item["id"] for item in page["certifications"]])
        path, seen = page["next"], path
        assert path != seen
    return pages


def _ids(client: TestClient, query: str = "") -> list[str]:
    return [each for page in _pages(client, f"/certifications{query}") for each in page]


def test_pages_have_every_certification_once_newest_first(
    client: TestClient, post: Post, png: bytes
) -> None:
    """A batch's images were sent in the same microsecond."""
    sent = [post().json()["id"] for _ in range(3)]
    batch = post(png, png, png).json()
    together = {each["id"] for each in batch["certifications"]}
    for limit in (1, 2, 4, 100):
        found = _ids(client, f"?limit={limit}")
        assert found[3:] == sent[::-1]
        assert set(found[:3]) == together
        assert len(found) == 6


def test_what_comes_or_goes_between_pages_moves_nothing(client: TestClient, post: Post) -> None:
    sent = [post(attempt=str(i)).json()["id"] for i in range(5)]
    first = client.get("/certifications?limit=2").json()
    assert [item["id"] for item in first["certifications"]] == [sent[4], sent[3]]
    post()
    for each in (sent[3], sent[2]):
        client.delete(f"/certifications/{each}")
        client.delete(f"/certifications/{each}")
    rest = [each for page in _pages(client, first["next"]) for each in page]
    assert rest == [sent[1], sent[0]]


def test_filters_are_met_and_combine(
    client: TestClient, post: Post, redis: Redis, png: bytes, finish: Finish
) -> None:
    queued, running, finished = (post(attempt=str(i)).json()["id"] for i in range(3))
    fetch_job(redis, running).set_status(JobStatus.STARTED)
    job = records.find_job(redis, finished)
    assert job is not None
    results.put_result(redis, finished, finish(job), ttl_s=60)
    linear = post(model="linear").json()["id"]
    batch = post(png, png).json()
    first, second = (each["id"] for each in batch["certifications"])
    client.delete(f"/certifications/{second}")
    assert set(_ids(client, "?status=queued")) == {queued, linear, first}
    assert _ids(client, "?status=running") == [running]
    assert _ids(client, "?status=finished") == [finished]
    assert set(_ids(client, "?status=finished&status=cancelled")) == {finished, second}
    assert _ids(client, "?model=linear") == [linear]
    assert _ids(client, "?model=linear&status=finished") == []
    assert set(_ids(client, f"?batch={batch['id']}")) == {first, second}
    assert _ids(client, f"?batch={batch['id']}&status=queued") == [first]


def test_outcomes_are_those_of_the_certificates_and_of_nothing_unfinished(
    client: TestClient, post: Post, redis: Redis, finish: Finish
) -> None:
    ids = [post(attempt=str(i), sigma=["0.25", "0.5"]).json()["id"] for i in range(3)]
    for each, certain in zip(ids, (True, False), strict=False):
        job = records.find_job(redis, each)
        assert job is not None
        results.put_result(redis, each, finish(job, certain=certain), ttl_s=60)
    listed = client.get("/certifications").json()["certifications"]
    unfinished, abstained, certified = (item["outcomes"] for item in listed)
    assert unfinished == []
    common = {"prompting": "template", "outcome": "abstained"}
    assert abstained == [{"sigma": sigma, **common} for sigma in (0.25, 0.5)]
    whole = client.get(f"/certifications/{ids[0]}").json()["certificates"]
    names = ("sigma", "prompting", "outcome", "prediction", "radius")
    assert certified == [{name: each[name] for name in names} for each in whole]


def test_times_include_their_ends(client: TestClient, post: Post) -> None:
    sent = [post().json() for _ in range(3)]
    middle = quote(sent[1]["submitted_at"])
    assert _ids(client, f"?since={middle}") == [sent[2]["id"], sent[1]["id"]]
    assert _ids(client, f"?until={middle}") == [sent[1]["id"], sent[0]["id"]]
    assert _ids(client, f"?since={middle}&until={middle}&limit=1") == [sent[1]["id"]]
    later = quote((datetime.now(UTC) + timedelta(minutes=1)).isoformat())
    assert _ids(client, f"?since={later}") == []


def test_a_rare_filter_ends_a_page_early_and_goes_on(
    client: TestClient, post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.server.jobs.listing._CHUNK", 2)
    monkeypatch.setattr("app.server.jobs.listing._LOOKED_AT", 2)
    rare = post(model="linear").json()["id"]
    for i in range(4):
        post(attempt=str(i))
    assert _pages(client, "/certifications?model=linear")[:3] == [[], [], [rare]]


def test_what_has_expired_is_not_listed(client: TestClient, post: Post, redis: Redis) -> None:
    gone, kept = post().json()["id"], post(attempt="1").json()["id"]
    redis.delete(keyspace.job(gone))
    assert _ids(client) == [kept]
    assert redis.ttl(keyspace.ALL_LISTED) > 0


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("?status=done", "request_invalid"),
        ("?limit=0", "request_invalid"),
        ("?limit=201", "request_invalid"),
        ("?cursor=%21", "request_invalid"),
        ("?cursor=MTIz", "request_invalid"),
        ("?cursor=%C3%A9", "request_invalid"),
        ("?since=2026-01-01T00:00:00", "request_invalid"),
        ("?until=0.5", "request_invalid"),
        ("?until=0001-01-01T00:00:00%2B23:59", "request_invalid"),
        ("?since=9999-12-31T23:59:59-23:59", "request_invalid"),
        ("?limit=1_0", "request_invalid"),
        ("?limit=5.0", "request_invalid"),
        ("?batch=1", "request_invalid"),
        ("?state=queued", "field_unknown"),
    ],
)
def test_what_cannot_be_asked_is_refused(client: TestClient, query: str, code: str) -> None:
    answer = client.get(f"/certifications{query}")
    assert (answer.status_code, answer.json()["code"]) == (422, code)
