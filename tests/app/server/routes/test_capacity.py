"""GET /capacity: what could be taken now, by model and priority, and that it is taken."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response
from redis import Redis

from app.main import create_app
from app.server.access.api_keys import ApiKey
from app.settings import AppSettings
from models.catalogue import load_catalogue
from models.imaging import Decoder
from worker.contract import PRIORITIES, ModelRef, ModelState, WorkerReport
from worker.store import hosts

MakeKey = Callable[..., tuple[ApiKey, dict[str, str]]]


@pytest.fixture
def small(settings: AppSettings, redis: Redis, decoder: Decoder) -> Iterator[TestClient]:
    """An app with small limits: 4 jobs, 100 s of work, 50 samples a second assumed."""
    limits = {"max_queued_jobs": 4, "max_queued_device_s": 100}
    with TestClient(create_app(settings.model_copy(update=limits), decoder=decoder)) as client:
        yield client


def announce(redis: Redis, states: dict[str, str] | None = None, **speeds: float) -> None:
    cards = {card.id: card for card in load_catalogue().list()}
    report = WorkerReport(
        name="host-1",
        started_at=datetime.now(UTC),
        ready=True,
        key_commitment="0" * 64,
        samples_per_s={name.replace("_", "-"): speed for name, speed in speeds.items()},
        states=tuple(
            ModelState(model=ModelRef(id=name, sha256=cards[name].sha256), state=state)
            for name, state in (states or {"bundled-2": "ready"}).items()
        ),
    )
    hosts.announce(redis, report)


def send(client: TestClient, png: bytes, n: int, **fields: str) -> Response:
    data = {"sigma": "0.25", "n_max": str(n), **fields}
    return client.post("/certify", files={"image": png}, data=data)


def ask(client: TestClient, model: str = "bundled-2") -> dict[str, Any]:
    found = client.get("/capacity").json()
    return next(one for one in found["models"] if one["model"] == model)


def rooms(shown: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["priority"]: one for one in shown["room"]}


def test_an_idle_service_could_take_all_that_its_limits_allow(
    small: TestClient, redis: Redis
) -> None:
    announce(redis, bundled_2=200.0)
    shown = ask(small)
    assert (shown["hosts"], shown["samples_per_s"]) == (1, 200.0)
    for room in shown["room"]:
        assert (room["jobs"], room["samples"], room["expected_wait_s"]) == (4, 20_000, 0.0)
    assert small.get("/capacity").json()["waiting"] == dict.fromkeys(PRIORITIES, 0)


def test_a_speed_that_nobody_measured_is_assumed_and_no_wait_is_promised(
    small: TestClient, png: bytes
) -> None:
    assert rooms(ask(small))["normal"]["samples"] == 5000
    send(small, png, 1000)
    room = rooms(ask(small))["normal"]
    assert (room["samples"], room["expected_wait_s"]) == (4000, None)


def test_each_priority_waits_for_what_goes_before_it(
    small: TestClient, redis: Redis, png: bytes
) -> None:
    announce(redis, bundled_2=100.0)
    for i, priority in enumerate(("normal", "batch", "urgent", "normal")):
        send(small, png, 1000, priority=priority, attempt=str(i))
    found = small.get("/capacity").json()
    assert found["waiting"] == {"urgent": 1, "normal": 2, "batch": 1}
    by_priority = rooms(ask(small))
    waits = [by_priority[one]["expected_wait_s"] for one in PRIORITIES]
    assert waits == [10.0, 30.0, 40.0]
    assert [by_priority[one]["jobs"] for one in PRIORITIES] == [3, 1, 0]
    assert by_priority["batch"]["samples"] == 0


def test_what_it_says_is_taken_and_one_more_is_not(small: TestClient, png: bytes) -> None:
    jobs = rooms(ask(small))["normal"]["jobs"]
    statuses = [send(small, png, 10, attempt=str(i)).status_code for i in range(jobs + 1)]
    assert statuses == [202] * jobs + [503]
    assert rooms(ask(small))["normal"]["jobs"] == 0


def test_a_model_that_no_host_can_serve_has_room_for_nothing(
    small: TestClient, redis: Redis
) -> None:
    announce(redis, {"bundled-2": "missing"})
    for room in ask(small)["room"]:
        assert (room["jobs"], room["samples"], room["expected_wait_s"]) == (0, 0, None)


def test_a_key_is_told_of_the_priorities_that_it_may_use(
    guarded: TestClient, make_key: MakeKey
) -> None:
    for scopes, expected in ((("read",), ["normal", "batch"]), (("read", "urgent"), [*PRIORITIES])):
        _, headers = make_key(*scopes)
        (model, *_) = guarded.get("/capacity", headers=headers).json()["models"]
        assert [room["priority"] for room in model["room"]] == expected
