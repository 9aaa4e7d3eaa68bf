"""DELETE: what is under way is cancelled, what has ended is purged."""

from collections.abc import Callable

from fastapi.testclient import TestClient
from httpx2 import Response
from redis import Redis

from worker.contract.certificate.document import FinishedResult
from worker.store.jobs import records, results

Post = Callable[..., Response]
Finish = Callable[..., FinishedResult]


def _end(redis: Redis, finish: Finish, certification_id: str) -> None:
    job = records.find_job(redis, certification_id)
    assert job is not None
    results.put_result(redis, job.id, finish(job), ttl_s=60)


def test_a_queued_certification_is_cancelled_and_then_purged(
    client: TestClient, post: Post, queued_ids: Callable[[], list[str]]
) -> None:
    path = post().headers["location"]
    cancelled = client.delete(path)
    assert cancelled.status_code == 200
    assert cancelled.json()["status"] == "cancelled"
    assert queued_ids() == []
    assert client.get(path).json() == cancelled.json()
    purged = client.delete(path)
    assert (purged.status_code, purged.content) == (204, b"")
    for answer in (client.get(path), client.delete(path)):
        assert (answer.status_code, answer.json()["code"]) == (404, "certification_unknown")


def test_a_finished_certification_is_purged_with_its_image(
    client: TestClient, post: Post, redis: Redis, finish: Finish
) -> None:
    path = post().headers["location"]
    _end(redis, finish, path.rpartition("/")[2])
    assert client.get(f"{path}/input.png").status_code == 200
    assert client.delete(path).status_code == 204
    assert client.get(f"{path}/input.png").status_code == 404
    assert not redis.keys("*:image:*")


def test_a_batch_is_cancelled_where_it_runs_and_purged_when_all_has_ended(
    client: TestClient, post: Post, redis: Redis, finish: Finish, png: bytes
) -> None:
    batch = post(png, png, png).json()
    path = batch["links"]["self"]
    _end(redis, finish, batch["certifications"][0]["id"])
    shown = client.delete(path).json()
    assert [each["status"] for each in shown["certifications"]] == [
        "finished",
        "cancelled",
        "cancelled",
    ]
    assert shown["done"] == 3
    assert client.delete(path).status_code == 204
    assert client.get(path).json()["code"] == "batch_unknown"


def test_a_batch_shows_those_that_were_not_purged(
    client: TestClient, post: Post, redis: Redis, finish: Finish, png: bytes
) -> None:
    batch = post(png, png).json()
    first, second = (each["id"] for each in batch["certifications"])
    _end(redis, finish, first)
    assert client.delete(f"/certifications/{first}").status_code == 204
    shown = client.get(batch["links"]["self"]).json()
    assert [each["id"] for each in shown["certifications"]] == [second]


def test_a_cancel_alone_purges_nothing(
    client: TestClient, post: Post, redis: Redis, finish: Finish, png: bytes
) -> None:
    """A job that ended a moment before keeps its certificate, however often it is cancelled."""
    single, batch = post().headers["location"], post(png, png).json()
    _end(redis, finish, single.rpartition("/")[2])
    for each in batch["certifications"]:
        _end(redis, finish, each["id"])
    for path in (single, batch["links"]["self"]):
        for _ in range(2):
            assert client.delete(f"{path}?only=cancel").status_code == 200
        assert client.get(path).status_code == 200
    assert client.get(single).json()["status"] == "finished"
    assert client.delete(f"{single}?only=purge").status_code == 422
    assert client.get(single).status_code == 200
    path = post().headers["location"]
    assert client.delete(f"{path}?only=cancel").json()["status"] == "cancelled"
    assert client.delete(f"{path}?only=cancel").json()["status"] == "cancelled"
