"""POST /certifications/{id}/continue: the next part, as a certification of its own, once."""

import base64
import json
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response
from redis import Redis

from app.main import create_app
from app.server.access.operator_file import now_utc
from app.server.jobs.webhooks.key_webhooks import KeyWebhooks, change_webhooks, create_secret
from app.settings import AppSettings, Quotas
from worker.contract import CertificationJob, Failure, StagedParameters
from worker.contract.certificate.document import FailedResult, FinishedResult
from worker.store import keyspace
from worker.store.jobs import records, results

Post = Callable[..., Response]
Finish = Callable[..., FinishedResult]
Ids = Callable[[], list[str]]
CAPPED = {"n_max": "500", "n_cap": "2000"}


@pytest.fixture
def end(redis: Redis, finish: Finish) -> Callable[..., CertificationJob]:
    """Stands in for a worker: stores the result of a job."""

    def end(certification_id: str, *, certain: bool = False) -> CertificationJob:
        job = records.find_job(redis, certification_id)
        assert job is not None
        results.put_result(redis, job.id, finish(job, certain=certain), ttl_s=600)
        return job

    return end


@pytest.fixture
def first(post: Post, end: Callable[..., CertificationJob]) -> CertificationJob:
    return end(post(**CAPPED).json()["id"])


def go_on(client: TestClient, job: CertificationJob, **options: object) -> Response:
    return client.post(f"/certifications/{job.id}/continue", **options)


def test_the_next_part_is_a_job_of_its_own_in_the_queue(
    client: TestClient, redis: Redis, first: CertificationJob, queued_ids: Ids
) -> None:
    answer = go_on(client, first)
    assert answer.status_code == 202
    shown = answer.json()
    assert (shown["status"], shown["continues"]) == ("queued", first.id)
    assert answer.headers["location"] == shown["links"]["self"]
    assert client.get(answer.headers["location"]).json() == shown
    job = records.find_job(redis, shown["id"])
    assert job is not None
    assert queued_ids()[-1] == job.id
    procedure = StagedParameters(n_max=500, n_cap=2000, continuations=1)
    assert job.request.procedure == procedure
    assert job.request.identity() == first.request.identity()
    assert "continues" not in client.get(f"/certifications/{first.id}").json()


def test_a_continuation_has_the_priority_of_what_it_continues(
    client: TestClient, post: Post, end: Callable[..., CertificationJob], redis: Redis
) -> None:
    first = end(post(n_max="500", n_cap="2000", priority="batch").json()["id"])
    job = records.find_job(redis, go_on(client, first).json()["id"])
    assert job is not None
    assert job.priority == "batch"


@pytest.fixture
def open_guarded(
    settings: AppSettings, keys_file: Path, tmp_path: Path
) -> Callable[..., AbstractContextManager[TestClient]]:
    """An app with keys, each of which has webhooks whose default address ends in its id."""

    def start(*key_ids: str) -> AbstractContextManager[TestClient]:
        webhooks_file = tmp_path / "webhooks.toml"
        with change_webhooks(webhooks_file) as found:
            for one in key_ids:
                url, secrets = f"http://r.example/{one}", (create_secret(now_utc()),)
                found[one] = KeyWebhooks(key_id=one, url=url, secrets=secrets)
        changes = {"keys_file": keys_file, "webhooks_file": webhooks_file}
        return TestClient(create_app(settings.model_copy(update=changes)))

    return start


def test_another_key_that_goes_on_lends_neither_its_address_nor_a_scope_that_it_lacks(
    open_guarded: Callable[..., AbstractContextManager[TestClient]],
    make_key: Callable[..., Any],
    png: bytes,
    end: Callable[..., CertificationJob],
    redis: Redis,
) -> None:
    """The message is signed by the owner's secret, which the other's receiver does not know."""
    (owner, own), (other, administrator) = make_key("submit", "urgent"), make_key("admin")

    def send(client: TestClient, **fields: str) -> CertificationJob:
        data = {"sigma": "0.25", **CAPPED, **fields}
        sent = client.post("/certify", files={"image": png}, data=data, headers=own)
        return end(sent.json()["id"])

    with open_guarded(owner.id, other.id) as client:
        refused = go_on(client, send(client, priority="urgent"), headers=administrator)
        assert (refused.status_code, refused.json()["code"]) == (403, "scope_missing")
        answer = go_on(client, send(client, attempt="1"), headers=administrator)
        job = records.find_job(redis, answer.json()["id"])
    assert job is not None
    assert job.owner == owner.id
    noted = redis.hgetall(keyspace.callback(job.id))
    assert (noted[b"owner"], noted[b"url"]) == (
        owner.id.encode(),
        f"http://r.example/{owner.id}".encode(),
    )


def test_asked_again_the_same_one_is_answered(
    client: TestClient, redis: Redis, first: CertificationJob, queued_ids: Ids, end: Callable
) -> None:
    one, again = go_on(client, first), go_on(client, first)
    assert one.json() == again.json() | {"estimated_s": one.json()["estimated_s"]}
    assert queued_ids().count(one.json()["id"]) == 1
    end(one.json()["id"])
    done = go_on(client, first)
    assert (done.status_code, done.json()["status"]) == (200, "finished")


def test_of_many_at_a_time_one_is_queued(
    client: TestClient, redis: Redis, first: CertificationJob, queued_ids: Ids
) -> None:
    before, answers = len(queued_ids()), []
    threads = [
        threading.Thread(target=lambda: answers.append(go_on(client, first).json()["id"]))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 6
    assert len(set(answers)) == 1
    assert len(queued_ids()) == before + 1


def test_parts_go_on_one_after_the_other_to_the_cap(
    client: TestClient, first: CertificationJob, end: Callable
) -> None:
    job, sizes = first, []
    for _ in range(2):
        job = end(go_on(client, job).json()["id"])
        sizes.append(job.request.samples_total)
    assert sizes == [1000, 2000]
    refused = go_on(client, job)
    assert (refused.status_code, refused.json()["code"]) == (409, "nothing_to_continue")


def test_what_has_its_answer_does_not_go_on(
    client: TestClient, post: Post, end: Callable, queued_ids: Ids
) -> None:
    reached = end(post(**CAPPED, target_radius="0.1").json()["id"], certain=True)
    uncapped = end(post(n_max="500").json()["id"])
    cohen = end(post(procedure="cohen", n="500").json()["id"])
    before = queued_ids()
    for job in (reached, uncapped, cohen):
        answer = go_on(client, job)
        assert (answer.status_code, answer.json()["code"]) == (409, "nothing_to_continue")
    assert queued_ids() == before


def test_what_has_not_finished_does_not_go_on(client: TestClient, post: Post, redis: Redis) -> None:
    job = records.find_job(redis, post(**CAPPED).json()["id"])
    assert job is not None
    assert go_on(client, job).json()["code"] == "not_finished"
    failed = FailedResult(failure=Failure(code="x", detail="y"))
    results.put_result(redis, job.id, failed, ttl_s=60)
    assert go_on(client, job).json()["code"] == "not_finished"
    assert client.post(f"/certifications/{'0' * 32}/continue").status_code == 404


def test_an_image_that_expired_is_said_and_loses_nothing(
    client: TestClient, redis: Redis, first: CertificationJob, post: Post, end: Callable
) -> None:
    redis.delete(keyspace.image(first.request.input.sha256))
    answer = go_on(client, first)
    assert (answer.status_code, answer.json()["code"]) == (410, "input_image_expired")
    assert "Send it again with the same fields" in answer.json()["detail"]
    again = end(post(**CAPPED).json()["id"])
    assert go_on(client, again).status_code == 202


@pytest.mark.parametrize("ended", ["cancelled", "failed", "purged"])
def test_a_continuation_that_ended_without_certificates_may_be_asked_for_anew(
    client: TestClient, redis: Redis, first: CertificationJob, ended: str
) -> None:
    one = go_on(client, first).json()["id"]
    if ended == "failed":
        failure = Failure(code="x", detail="y")
        results.put_result(redis, one, FailedResult(failure=failure), ttl_s=60)
    for _ in range({"cancelled": 1, "failed": 0, "purged": 2}[ended]):
        client.delete(f"/certifications/{one}")
    two = go_on(client, first)
    assert two.status_code == 202
    assert two.json()["id"] != one


def test_the_key_s_samples_are_charged_for_the_further_ones_alone(
    settings: AppSettings, keys_file: Path, make_key: Callable, png: bytes, end: Callable
) -> None:
    _, bearer = make_key("read", "submit", quotas=Quotas(samples_per_day=1900))
    _, other = make_key("read", "submit")
    guarded = create_app(settings.model_copy(update={"keys_file": keys_file}))
    with TestClient(guarded, raise_server_exceptions=False) as client:
        asked = {"data": {"sigma": "0.25", **CAPPED}, "files": {"image": png}}
        job = end(client.post("/certify", **asked, headers=bearer).json()["id"])
        assert go_on(client, job, headers=other).status_code == 404  # another's
        answer = go_on(client, job, headers=bearer)
        assert answer.status_code == 202  # 500 and 500
        job = end(answer.json()["id"])
        answer = go_on(client, job, headers=bearer)
        assert (answer.status_code, answer.json()["code"]) == (429, "quota_exceeded")


@pytest.mark.parametrize("n_cap", ["999", "100001", "0", "many"])
def test_a_cap_below_twice_n_max_or_above_the_limit_is_refused(post: Post, n_cap: str) -> None:
    answer = post(n_max="500", n_cap=n_cap)
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert error["field"] == "n_cap"
    assert "at least twice n_max" in error["detail"]


def test_a_cap_may_come_as_a_number_of_json_and_is_kept(
    client: TestClient, redis: Redis, png: bytes
) -> None:

    body = {"image": [base64.b64encode(png).decode()], "sigma": [0.25], "n_max": 500}
    body |= {"n_cap": 2000, "target_radius": 0.5}
    answer = client.post("/certify", content=json.dumps(body), headers={
        "content-type": "application/json"})  # fmt: skip
    job = records.find_job(redis, answer.json()["id"])
    assert job is not None
    expected = StagedParameters(n_max=500, n_cap=2000, target_radius=Decimal("0.5"))
    assert job.request.procedure == expected
