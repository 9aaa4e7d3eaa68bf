"""GET: what a certification shows while it waits, runs, has finished or has failed."""

from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response
from redis import Redis
from rq.job import JobStatus

from worker.contract import QUEUE_NAME, CertificationJob, Failure
from worker.contract.certificate.document import FailedResult, FinishedResult
from worker.jobs.queue import CertificationRqJob, create_queue
from worker.store import keyspace
from worker.store.jobs import accepted, progress, records, results

Post = Callable[..., Response]
Finish = Callable[..., FinishedResult]


@pytest.fixture
def job(post: Post, redis: Redis) -> CertificationJob:
    """A job that was just accepted."""
    job = records.find_job(
        redis, post(sigma=["0.5", "0.25"], procedure="cohen", n="1000", n0="100").json()["id"]
    )
    assert job is not None
    return job


def _show(client: TestClient, job: CertificationJob) -> dict[str, object]:
    answer = client.get(f"/certifications/{job.id}")
    assert answer.status_code == 200
    shown: dict[str, object] = answer.json()
    return shown


def _set_status(redis: Redis, job: CertificationJob, status: JobStatus) -> None:
    CertificationRqJob.fetch(job.id, connection=redis, serializer="json").set_status(status)


def test_running_certification_shows_its_samples(
    client: TestClient, redis: Redis, job: CertificationJob
) -> None:
    _set_status(redis, job, JobStatus.STARTED)
    shown = _show(client, job)
    assert shown["status"] == "running"
    assert shown["progress"] == {"samples_done": 0, "samples_total": 2200, "live": []}
    progress.put_progress(redis, job.id, 640, 2200)
    assert _show(client, job)["progress"] == {
        "samples_done": 640,
        "samples_total": 2200,
        "live": [],
    }


@pytest.mark.parametrize("certain", [True, False])
def test_finished_certification_shows_what_was_stored(
    client: TestClient, redis: Redis, job: CertificationJob, finish: Finish, certain: bool
) -> None:
    stored = finish(job, certain=certain)
    results.put_result(redis, job.id, stored, ttl_s=60)
    shown = _show(client, job)
    expected = stored.model_dump(mode="json")
    for name in ("model", "input", "certificates", "provenance", "research_use_only", "status"):
        assert shown[name] == expected[name]
    certificates = shown["certificates"]
    assert [each["sigma"] for each in certificates] == [0.25, 0.5]
    outcome = "certified" if certain else "abstained"
    assert {each["outcome"] for each in certificates} == {outcome}
    assert all(("radius" in each) == certain for each in certificates)


def test_failed_certification_shows_why(
    client: TestClient, redis: Redis, job: CertificationJob
) -> None:
    failure = Failure(code="model_not_served", detail="No engine here serves the model.")
    results.put_result(redis, job.id, FailedResult(failure=failure), ttl_s=60)
    shown = _show(client, job)
    assert (shown["status"], shown["failure"]) == ("failed", failure.model_dump())


def test_certification_that_rq_lost_is_queued_and_one_that_it_gave_up_has_failed(
    client: TestClient, redis: Redis, job: CertificationJob
) -> None:
    """What was accepted is found again; what is open nowhere will not be."""
    stored = CertificationRqJob.fetch(job.id, connection=redis, serializer="json")
    stored.set_status(JobStatus.FAILED)
    assert _show(client, job)["failure"]["code"] == "certification_lost"
    stored.delete()
    assert _show(client, job)["status"] == "queued"
    accepted.settle(redis, QUEUE_NAME, job.id)
    assert _show(client, job)["failure"]["code"] == "certification_lost"


@pytest.mark.parametrize("path", ["certifications", "batches"])
@pytest.mark.parametrize("name", ["0" * 32, "0", "A" * 32, "..%2f..%2fetc"])
def test_unknown_id_is_a_problem(client: TestClient, redis: Redis, path: str, name: str) -> None:
    answer = client.get(f"/{path}/{name}")
    assert answer.status_code == 404
    codes = {"certifications": "certification_unknown", "batches": "batch_unknown"}
    assert answer.json()["code"] in {codes[path], "not_found"}


def test_input_image_that_expired_is_gone_not_unknown(
    client: TestClient, redis: Redis, job: CertificationJob
) -> None:
    redis.delete(keyspace.image(job.request.input.sha256))
    answer = client.get(f"/certifications/{job.id}/input.png")
    assert (answer.status_code, answer.json()["code"]) == (410, "input_image_expired")
    assert client.get(f"/certifications/{'0' * 32}/input.png").status_code == 404


def test_batch_counts_what_is_done(
    client: TestClient, post: Post, redis: Redis, png: bytes, finish: Finish
) -> None:
    batch = post(png, png).json()
    first = records.find_job(redis, batch["certifications"][0]["id"])
    assert first is not None
    results.put_result(redis, first.id, finish(first), ttl_s=60)
    shown = client.get(f"/batches/{batch['id']}").json()
    assert (shown["done"], shown["total"]) == (1, 2)
    assert [each["status"] for each in shown["certifications"]] == ["finished", "queued"]


def _finish_all(redis: Redis, finish: Finish, batch: dict[str, Any], ids: slice) -> None:
    for shown in batch["certifications"][ids]:
        job = records.find_job(redis, shown["id"])
        assert job is not None
        results.put_result(redis, job.id, finish(job), ttl_s=60)


def test_a_joint_batch_says_what_holds_for_its_images_together_when_all_have_ended(
    client: TestClient, post: Post, redis: Redis, png: bytes, finish: Finish
) -> None:
    batch = post(png, png, b"broken", joint="true", sigma=["0.25", "0.5"]).json()
    _finish_all(redis, finish, batch, slice(1))
    assert "joint_batch" not in client.get(f"/batches/{batch['id']}").json()
    _finish_all(redis, finish, batch, slice(1, None))
    found = client.get(f"/batches/{batch['id']}").json()["joint_batch"]
    assert [one["sigma"] for one in found] == [0.25, 0.5]
    for one in found:
        assert (one["outcome"], one["images"], one["certificates_in_request"]) == (
            "certified",
            3,
            6,
        )
        (step,) = one["steps"]
        assert (step["images_certified"], step["images_other"]) == (2, 1)
        assert step["images_any_content"] == 0


def test_a_batch_that_is_not_joint_says_nothing_about_its_images_together(
    client: TestClient, post: Post, redis: Redis, png: bytes, finish: Finish
) -> None:
    batch = post(png, png).json()
    _finish_all(redis, finish, batch, slice(None))
    shown = client.get(f"/batches/{batch['id']}").json()
    assert shown["done"] == shown["total"] == 2
    assert "joint_batch" not in shown


def test_a_joint_batch_of_which_nothing_finished_claims_nothing(
    client: TestClient, post: Post, redis: Redis, png: bytes
) -> None:
    batch = post(png, png, joint="true").json()
    for shown in batch["certifications"]:
        failed = FailedResult(failure=Failure(code="image_expired", detail="gone"))
        results.put_result(redis, shown["id"], failed, ttl_s=60)
    shown = client.get(f"/batches/{batch['id']}").json()
    assert shown["done"] == 2
    assert "joint_batch" not in shown


def test_looking_never_takes_from_the_queue(
    client: TestClient, redis: Redis, job: CertificationJob
) -> None:
    for _ in range(3):
        _show(client, job)
    assert create_queue(redis).job_ids == [job.id]
