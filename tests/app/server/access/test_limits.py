"""What a key may use: requests a minute, jobs at a time, samples a day."""

import time
from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response
from redis import Redis

from app.main import create_app
from app.server.access.api_keys import ApiKey
from app.server.access.rate_limit import count_request
from app.settings import AppSettings, Quotas
from models.imaging import Decoder
from worker.contract import Failure
from worker.contract.certificate.document import FailedResult
from worker.store import keyspace
from worker.store.jobs import results

MakeKey = Callable[..., tuple[ApiKey, dict[str, str]]]
Headers = dict[str, str]


@pytest.fixture
def certify(guarded: TestClient, png: bytes) -> Callable[..., Response]:
    def send(headers: Headers, *, images: int = 1, **fields: object) -> Response:
        files = [("image", ("a.png", png, "image/png"))] * images
        data = {"sigma": "0.25", "n_max": "1000", **fields}
        return guarded.post("/certify", files=files, data=data, headers=headers)

    return send


def _require_refusal(answer: Response, code: str) -> int:
    assert (answer.status_code, answer.json()["code"]) == (429, code)
    assert answer.headers["content-type"] == "application/problem+json"
    return int(answer.headers["retry-after"])


def _age_jobs(redis: Redis, key: ApiKey, *, seconds: float) -> None:
    name = keyspace.open_jobs(key.id)
    for member, score in redis.zrange(name, 0, -1, withscores=True):
        redis.zadd(name, {member: score - seconds})


def test_a_key_sends_its_minute_at_once_and_then_waits(
    guarded: TestClient, make_key: MakeKey
) -> None:
    _, headers = make_key("read", quotas=Quotas(requests_per_minute=3))
    _, free = make_key("read")
    begun = time.monotonic()
    answers = [guarded.get("/models", headers=headers) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200] * 3
    assert answers[0].headers["ratelimit-policy"] == '"requests";q=3;w=60'
    assert [a.headers["ratelimit"].split(";")[1] for a in answers] == ["r=2", "r=1", "r=0"]
    refused = guarded.get("/models", headers=headers)
    wait_s = _require_refusal(refused, "rate_limited")
    assert 20 - (time.monotonic() - begun) <= wait_s <= 20  # one of three in a minute
    assert refused.headers["ratelimit"].startswith('"requests";r=0;t=')
    assert guarded.get("/models", headers=free).status_code == 200
    assert "ratelimit" not in guarded.get("/models", headers=free).headers
    assert guarded.get("/healthz", headers=headers).status_code == 200


def test_what_was_sent_comes_back_with_time(redis: Redis) -> None:
    begun = time.monotonic()
    assert [count_request(redis, "k", 2).left for _ in range(2)] == [1, 0]
    wait_s = count_request(redis, "k", 2).retry_after_s
    assert 30 - (time.monotonic() - begun) <= wait_s <= 30
    full = int(redis.get(keyspace.requests_limit("k")))
    redis.set(keyspace.requests_limit("k"), full - 31_000_000)  # as half a minute later
    assert count_request(redis, "k", 2).retry_after_s is None
    assert count_request(redis, "k", 2).retry_after_s is not None


def test_a_refused_request_is_counted_too(guarded: TestClient, make_key: MakeKey) -> None:
    """Else a key could try addresses for ever."""
    _, headers = make_key("read", quotas=Quotas(requests_per_minute=2))
    for _ in range(2):
        assert guarded.get("/certifications/0", headers=headers).status_code == 404
    _require_refusal(guarded.get("/models", headers=headers), "rate_limited")


def test_without_a_queue_a_bounded_key_is_told_so(
    guarded: TestClient, make_key: MakeKey, redis: Redis
) -> None:
    _, headers = make_key("read", quotas=Quotas(requests_per_minute=2))
    redis.config_set("maxmemory", "1")
    try:
        answer = guarded.get("/models", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (503, "queue_unavailable")
    finally:
        redis.config_set("maxmemory", "0")


def test_a_key_has_so_many_jobs_at_a_time(
    certify: Callable[..., Response], make_key: MakeKey, redis: Redis
) -> None:
    key, headers = make_key("submit", quotas=Quotas(jobs=3))
    _, free = make_key("submit")
    first = certify(headers, images=2).json()
    _require_refusal(certify(headers, images=2), "quota_exceeded")
    assert certify(headers).status_code == 202
    assert certify(free, images=3).status_code == 202
    assert _require_refusal(certify(headers), "quota_exceeded") == 30
    _age_jobs(redis, key, seconds=120)
    _require_refusal(certify(headers), "quota_exceeded")  # they still wait
    failed = FailedResult(failure=Failure(code="image_expired", detail="It expired."))
    results.put_result(redis, first["certifications"][0]["id"], failed, ttl_s=60)
    assert certify(headers).status_code == 202
    _require_refusal(certify(headers), "quota_exceeded")


def test_samples_are_counted_as_they_were_asked_for(
    certify: Callable[..., Response], make_key: MakeKey
) -> None:
    _, headers = make_key("submit", quotas=Quotas(samples_per_day=5000))
    assert certify(headers, sigma=["0.25", "0.5"]).status_code == 202  # 2000
    assert certify(headers, images=2).status_code == 202  # 4000
    wait_s = _require_refusal(certify(headers, n_max="1001"), "quota_exceeded")
    assert 0 < wait_s <= 24 * 3600
    assert certify(headers).status_code == 202  # 5000
    _require_refusal(certify(headers, n_max="1"), "quota_exceeded")


def test_what_was_not_queued_is_not_counted(
    certify: Callable[..., Response], make_key: MakeKey, redis: Redis
) -> None:
    key, headers = make_key("submit", quotas=Quotas(jobs=1, samples_per_day=1000))
    assert certify(headers, sigma="nonsense").status_code == 422
    wrong = certify({**headers, "Idempotency-Key": "a b"})
    assert wrong.status_code == 422
    redis.set(keyspace.listed(key.id), "a string, so that the job cannot be listed")
    assert certify(headers).status_code == 503
    redis.delete(keyspace.listed(key.id))
    assert certify(headers).status_code == 202


def test_the_same_submission_again_is_not_counted_again(
    certify: Callable[..., Response], make_key: MakeKey
) -> None:
    _, headers = make_key("submit", quotas=Quotas(jobs=1, samples_per_day=1000))
    again = {**headers, "Idempotency-Key": "tuesday"}
    assert certify(again).json()["id"] == certify(again).json()["id"]


def test_callers_without_keys_share_what_the_settings_allow(
    settings: AppSettings, redis: Redis, png: bytes, decoder: Decoder
) -> None:
    bounded = settings.model_copy(
        update={"anonymous_requests_per_minute": 3, "anonymous_samples_per_day": 1500}
    )
    with TestClient(create_app(bounded, decoder=decoder)) as client:
        data = {"sigma": "0.25", "n_max": "1000"}
        assert client.post("/certify", files={"image": png}, data=data).status_code == 202
        refused = client.post("/certify", files={"image": png}, data=data)
        _require_refusal(refused, "quota_exceeded")
        assert client.get("/models").status_code == 200
        _require_refusal(client.get("/models"), "rate_limited")


@pytest.mark.parametrize("quotas", [Quotas(jobs=1), Quotas(samples_per_day=150)])
def test_what_can_never_pass_is_not_told_to_wait(
    certify: Callable[..., Response], make_key: MakeKey, redis: Redis, quotas: Quotas
) -> None:
    """A batch of more jobs than the key may have at a time, or of more samples than in a day."""
    _, headers = make_key("submit", quotas=quotas)
    answer = certify(headers, images=2, n_max="100")
    assert (answer.status_code, answer.json()["code"]) == (422, "quota_too_small")
    assert "Retry-After" not in answer.headers
    assert certify(headers, n_max="100").status_code == 202
