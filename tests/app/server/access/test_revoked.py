"""What is under way ends when its key does."""

import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response
from redis import Redis
from waiting import wait_until

from app.main import create_app
from app.server.access.api_keys import ApiKey, change_keys, find_index
from app.server.access.operator_file import now_utc
from app.settings import AppSettings
from models.imaging import Decoder
from worker.contract.certificate.document import CancelledResult
from worker.jobs.queue import create_queue
from worker.store.jobs import results

MakeKey = Callable[..., tuple[ApiKey, dict[str, str]]]
Headers = dict[str, str]


def _revoke(path: Path, key: ApiKey, **changes: object) -> None:
    with change_keys(path) as keys:
        at = find_index(keys, key.id)
        keys[at] = keys[at].model_copy(update=changes or {"revoked_at": now_utc()})


def _start(ask: Callable[[], Response]) -> Callable[[], Response]:
    """Asks in a thread; the answer, when it is there."""
    found: list[Response] = []
    thread = threading.Thread(target=lambda: found.append(ask()))
    thread.start()

    def get() -> Response:
        thread.join()
        return found[0]

    return get


@pytest.mark.parametrize(
    "changes", [{}, {"expires_at": now_utc() - timedelta(days=1)}, {"scopes": ("read",)}]
)
def test_a_wait_ends_when_its_key_does(
    guarded: TestClient,
    make_key: MakeKey,
    keys_file: Path,
    png: bytes,
    redis: Redis,
    changes: dict[str, object],
) -> None:
    key, headers = make_key("submit", "read")
    form = {"files": {"image": png}, "data": {"sigma": "0.25"}}
    get = _start(
        lambda: guarded.post("/certify", **form, headers={**headers, "Prefer": "wait=300"})
    )
    wait_until(lambda: create_queue(redis).job_ids)
    _revoke(keys_file, key, **changes)
    answer = get()  # no worker runs, so nothing else would end it
    assert answer.status_code == (403 if "scopes" in changes else 401)


def test_a_stream_ends_when_its_key_does_and_others_go_on(
    guarded: TestClient, make_key: MakeKey, keys_file: Path, png: bytes, redis: Redis
) -> None:
    key, headers = make_key("submit", "read")
    _, other = make_key("read", "admin")
    form = {"files": {"image": png}, "data": {"sigma": "0.25"}}
    sent = guarded.post("/certify", **form, headers=headers).json()["id"]
    ours, theirs = (
        _start(lambda h=h: guarded.get(f"/certifications/{sent}/events", headers=h))
        for h in (headers, other)
    )
    _revoke(keys_file, key)
    ended = ours()
    assert "event: done" not in ended.text
    results.put_result(redis, sent, CancelledResult(), ttl_s=600)
    assert "event: done" in theirs().text


def test_what_began_without_keys_ends_when_there_are_keys(
    settings: AppSettings,
    make_key: MakeKey,
    keys_file: Path,
    png: bytes,
    redis: Redis,
    decoder: Decoder,
) -> None:
    with_keys = settings.model_copy(update={"keys_file": keys_file})
    with TestClient(create_app(with_keys, decoder=decoder), base_url="http://127.0.0.1") as client:
        form = {"files": {"image": png}, "data": {"sigma": "0.25"}}
        get = _start(lambda: client.post("/certify", **form, headers={"Prefer": "wait=300"}))
        wait_until(lambda: create_queue(redis).job_ids)
        make_key("read")
        assert (get().status_code, get().json()["code"]) == (401, "key_missing")
