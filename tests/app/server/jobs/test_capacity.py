"""Back-pressure: how much may wait, what is said then, and what a job is told of its turn."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response
from redis import Redis

from app.main import create_app
from app.settings import AppSettings
from models.imaging import Decoder
from worker.contract import TASK_COUNT_RANGES, WorkerReport
from worker.jobs.load import get_load
from worker.jobs.queue import create_queue
from worker.store import hosts

Post = Callable[..., Response]
Ids = Callable[[], list[str]]


def announce(redis: Redis, name: str, speed: float, *, ready: bool = True) -> None:
    report = WorkerReport(
        name=name,
        started_at=datetime.now(UTC),
        ready=ready,
        key_commitment="0" * 64,
        samples_per_s={"bundled-2": speed},
    )
    hosts.announce(redis, report)


@pytest.fixture
def send(
    settings: AppSettings, redis: Redis, png: bytes, decoder: Decoder
) -> Iterator[Callable[..., Response]]:
    """Posts to an app with small limits: 3 jobs, 100 s of work, 50 samples a second assumed."""
    small = settings.model_copy(update={"max_queued_jobs": 3, "max_queued_device_s": 100})
    with TestClient(create_app(small, decoder=decoder)) as client:

        def post(n: int = 10, attempt: int = 0) -> Response:
            data = {"sigma": "0.25", "n_max": str(n), "attempt": str(attempt)}
            return client.post("/certify", files={"image": png}, data=data)

        yield post


def test_as_many_jobs_wait_as_the_operator_allows(
    send: Callable[..., Response], queued_ids: Ids, redis: Redis
) -> None:
    announce(redis, "host", 2.0)
    assert [send(attempt=i).status_code for i in range(3)] == [202] * 3
    full = send(attempt=3)
    assert (full.status_code, full.json()["code"]) == (503, "queue_full")
    assert full.headers["retry-after"] == "5"  # 10 samples at 2 a second: then one has gone
    assert len(queued_ids()) == 3
    redis.lpop(create_queue(redis).key)  # a worker takes one
    assert send(attempt=3).status_code == 202


def test_callers_refused_together_are_told_different_times(
    send: Callable[..., Response], redis: Redis
) -> None:
    """Each of the last minute leaves 5 s for the jobs of those before it."""
    announce(redis, "host", 2.0)
    for attempt in range(3):
        send(attempt=attempt)
    told = [int(send(attempt=3).headers["retry-after"]) for _ in range(40)]
    assert (told[0], min(told)) == (5, 5)
    assert len(set(told)) > 20
    assert 40 < sum(told) / len(told) < 5 + 40 * 5


def test_as_much_work_waits_as_the_operator_allows(
    send: Callable[..., Response], redis: Redis
) -> None:
    announce(redis, "host", 100.0)
    assert send(20_000).status_code == 202
    full = send(1, attempt=1)
    assert (full.status_code, full.headers["retry-after"]) == (503, "100")
    announce(redis, "second", 300.0)
    announce(redis, "starting", 1e9, ready=False)
    assert send(1, attempt=2).status_code == 202  # 20,000 samples at 400 a second are 50 s


def test_a_speed_that_nobody_measured_is_assumed(send: Callable[..., Response]) -> None:
    assert send(10_000).status_code == 202
    assert send(1, attempt=1).headers["retry-after"] == "100"  # 200 s at 50 a second, 100 too many


def test_a_request_above_every_limit_is_taken_when_nothing_waits(
    send: Callable[..., Response],
) -> None:
    assert send(100_000).status_code == 202


def test_a_queued_job_is_told_its_turn_and_an_upper_bound(
    post: Post, client: TestClient, redis: Redis
) -> None:
    first, second = post(n_max="300"), post(n_max="500", attempt="1")
    assert (first.json()["queue_position"], first.json()["estimated_s"]) == (1, None)
    announce(redis, "host", 100.0)
    shown = client.get(second.headers["location"]).json()
    assert (shown["queue_position"], shown["estimated_s"]) == (2, 8.0)
    client.delete(first.headers["location"])
    shown = client.get(second.headers["location"]).json()
    assert (shown["queue_position"], shown["estimated_s"]) == (1, 5.0)


def test_helpers_in_the_queue_are_no_work_of_their_own(post: Post, redis: Redis) -> None:
    post(n_max="300")
    create_queue(redis).enqueue_call(TASK_COUNT_RANGES, args=("0" * 32, "run"))
    load = get_load(redis)
    assert (load.jobs, load.samples) == (2, {"bundled-2": 300})
