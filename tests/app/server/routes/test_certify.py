"""POST /certify: what is accepted is in the queue, exactly as it was asked for."""

import json
import threading
import time
from collections.abc import Callable
from decimal import Decimal

import numpy as np
import pytest
from fastapi.testclient import TestClient
from httpx2 import Response
from redis import Redis
from waiting import wait_until

from app.server.jobs.prefer_wait import choose_pause_s, parse_wait
from models.catalogue import load_catalogue
from models.imaging import parse_image, preprocess
from worker.contract import TASK_CERTIFY, StagedParameters
from worker.contract.certificate.document import FinishedResult
from worker.jobs.queue import CertificationRqJob
from worker.store import images
from worker.store.jobs import records, results

Ids = Callable[[], list[str]]
Post = Callable[..., Response]
Encode = Callable[..., bytes]
Finish = Callable[..., FinishedResult]


def test_accepted_image_is_one_job_in_the_queue_and_location_leads_to_it(
    post: Post, client: TestClient, redis: Redis, queued_ids: Ids
) -> None:
    answer = post(sigma=["0.25", "0.5"], n_max="2000")
    assert answer.status_code == 202
    assert int(answer.headers["retry-after"]) >= 1
    shown = answer.json()
    assert answer.headers["location"] == shown["links"]["self"] == f"/certifications/{shown['id']}"
    assert queued_ids() == [shown["id"]]
    rq_job = CertificationRqJob.fetch(shown["id"], connection=redis, serializer="json")
    assert (rq_job.func_name, rq_job.args) == (TASK_CERTIFY, [shown["id"]])
    assert client.get(answer.headers["location"]).json() == shown


def test_request_is_kept_as_it_was_written(post: Post, redis: Redis) -> None:
    names = ["normal lung", "pneumonia"]
    answer = post(
        sigma=["0.10", "5e-1"],
        class_name=names,
        template="An X-ray of {}.",
        alpha="1e-4",
        attempt="3",
        n="17",
        n0="5",
        procedure="cohen",
    )
    job = records.find_job(redis, answer.json()["id"])
    assert job is not None
    request = job.request
    assert request.sigmas == (Decimal("0.1"), Decimal("0.5"))
    assert request.targets[0].class_names == tuple(names)
    assert request.targets[0].template == "An X-ray of {}."
    assert (request.alpha, request.attempt) == (Decimal("0.0001"), 3)
    assert (request.procedure.n0, request.procedure.n) == (5, 17)


def test_what_is_not_said_comes_from_the_card(post: Post, redis: Redis) -> None:
    card = load_catalogue().get("bundled-2")
    job = records.find_job(redis, post().json()["id"])
    assert job is not None
    assert (job.request.model.id, job.request.model.sha256) == (card.id, card.sha256)
    assert job.request.targets[0].class_names == card.class_names
    assert job.request.targets[0].template == card.template


def test_image_is_stored_as_the_named_model_sees_it(
    post: Post, client: TestClient, redis: Redis, png: bytes, models_folder: object
) -> None:
    card = load_catalogue(models_folder).get("linear")
    shown = post(model="linear").json()
    expected = preprocess(parse_image(png).pixels, card.preprocessing)
    size = card.preprocessing.size
    stored = images.get_image(redis, shown["input"]["sha256"], height=size, width=size)
    assert np.array_equal(stored, expected)
    picture = client.get(shown["links"]["input_image"])
    assert picture.headers["content-type"] == "image/png"
    returned = parse_image(picture.content).pixels
    assert np.array_equal(returned.transpose(2, 0, 1), expected)


def test_window_is_applied_and_reported(post: Post, encode: Encode) -> None:
    ramp = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)
    described = post(encode(ramp), window="2048,1000").json()["input"]
    assert (described["window"], described["window_origin"]) == ([2048.0, 1000.0], "request")
    assert post(encode(ramp), window="auto").json()["input"]["window_origin"] == "percentile"


def test_several_images_are_a_batch_in_their_order(
    post: Post, client: TestClient, png: bytes, encode: Encode, queued_ids: Ids
) -> None:
    grey = encode(np.full((20, 20), 100, dtype=np.uint8), "JPEG")
    answer = post(png, grey, sigma=["0.25"])
    batch = answer.json()
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/batches/{batch['id']}"
    assert [each["input"]["source"] for each in batch["certifications"]] == ["png", "jpeg"]
    assert queued_ids() == [each["id"] for each in batch["certifications"]]
    assert (batch["done"], batch["total"]) == (0, 2)
    assert client.get(answer.headers["location"]).json() == batch


def test_an_image_that_cannot_be_used_does_not_lose_the_others(
    post: Post, client: TestClient, png: bytes, queued_ids: Ids
) -> None:
    answer = post(png, png[: len(png) // 2], b"no image", joint="true")
    assert answer.status_code == 202
    batch = answer.json()
    (accepted,) = batch["certifications"]
    assert accepted["image_index"] == 0
    assert queued_ids() == [accepted["id"]]
    first, second = batch["refused"]
    assert (first["image_index"], first["status"], first["code"]) == (1, 422, "image_broken")
    assert (second["image_index"], second["status"]) == (2, 415)
    assert (batch["done"], batch["total"]) == (2, 3)
    assert client.get(answer.headers["location"]).json() == batch


def test_alpha_is_divided_among_all_images_that_were_sent(
    post: Post, redis: Redis, png: bytes
) -> None:
    shown = post(png, b"no image", joint="true").json()["certifications"][0]
    job = records.find_job(redis, shown["id"])
    assert job is not None
    assert job.request.certificates_asked == 2


def test_images_of_which_none_can_be_used_are_one_problem(
    post: Post, png: bytes, redis: Redis
) -> None:
    answer = post(png[: len(png) // 2], b"no image")
    assert answer.status_code == 422
    assert answer.json()["code"] == "image_broken"
    assert answer.json()["image_index"] == 0
    assert answer.json()["detail"].startswith("Image 1 of 2: ")
    assert redis.dbsize() == 0


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("wait=5", 5),
        ("wait=999999999", 30),
        ("respond-async, wait=10", 10),
        ('WAIT = "7"; why=not', 7),
        ("wait=600", 30),
        ("wait=-1", None),
        ("wait=soon", None),
        ("return=minimal", None),
    ],
)
def test_preferred_wait_is_understood_and_capped(header: str, seconds: int | None) -> None:
    assert parse_wait([header], cap_s=30) == seconds


def _work(redis: Redis, queued_ids: Ids, finish: Finish, count: int) -> None:
    """Stands in for a worker: puts a result for each job as soon as it is queued."""
    wait_until(lambda: len(queued_ids()) >= count)
    for each in queued_ids():
        job = records.find_job(redis, each)
        assert job is not None
        results.put_result(redis, each, finish(job), ttl_s=60)


@pytest.mark.parametrize("waited_s", [0.2, 1.0, 3.0])
def test_an_answer_that_was_waited_for_is_late_by_a_tenth_at_most(waited_s: float) -> None:
    assert choose_pause_s(waited_s) == waited_s / 10


def test_pauses_are_bounded() -> None:
    """Neither a short wait nor a long one may cost a look at the queue without end."""
    assert choose_pause_s(0) == choose_pause_s(0.1) == 0.02
    assert choose_pause_s(30) == 0.5


def test_preferred_wait_answers_with_the_certificates(
    post: Post, redis: Redis, queued_ids: Ids, finish: Finish, png: bytes
) -> None:
    worker = threading.Thread(target=_work, args=(redis, queued_ids, finish, 2))
    worker.start()
    answer = post(png, png, headers={"Prefer": "wait=300"}, attempt="1")
    worker.join()
    assert answer.status_code == 200
    assert answer.headers["preference-applied"] == "wait=300"
    assert "retry-after" not in answer.headers
    assert [each["status"] for each in answer.json()["certifications"]] == ["finished"] * 2
    assert answer.json()["done"] == 2


def test_preferred_wait_that_is_too_short_is_accepted_as_usual(post: Post) -> None:
    """A second is over, and by far not the 300 that could be granted."""
    begun = time.monotonic()
    answer = post(headers={"Prefer": "wait=1"})
    assert 1 <= time.monotonic() - begun < 300
    assert answer.status_code == 202
    assert answer.headers["preference-applied"] == "wait=1"
    assert answer.json()["status"] == "queued"


def test_wait_does_not_hold_up_others(
    client: TestClient, post: Post, redis: Redis, queued_ids: Ids, finish: Finish
) -> None:
    waiting = threading.Thread(target=post, kwargs={"headers": {"Prefer": "wait=300"}})
    waiting.start()
    wait_until(queued_ids)
    assert client.get("/healthz").status_code == 200
    assert waiting.is_alive()
    _work(redis, queued_ids, finish, 1)
    waiting.join()


def test_staged_parameters_are_kept_as_they_were_written(post: Post, redis: Redis) -> None:
    answer = post(n_max="500", target_radius="0.10", joint="true", sigma=["0.25", "0.5"])
    job = records.find_job(redis, answer.json()["id"])
    assert job is not None
    assert job.request.procedure == StagedParameters(n_max=500, target_radius=Decimal("0.1"))
    assert job.request.certificates_asked == 2
    assert job.request.alpha_each == 0.0005


def test_joint_counts_the_images_of_the_request(post: Post, redis: Redis, png: bytes) -> None:
    batch = post(png, png, png, joint="true").json()
    jobs = [records.find_job(redis, shown["id"]) for shown in batch["certifications"]]
    assert {job.request.certificates_asked for job in jobs if job} == {3}


def test_several_label_sets_are_several_targets(post: Post, redis: Redis) -> None:
    asked = [{"class_names": ["normal lung", "pneumonia"], "template": "An X-ray of {}."}, {}]
    answer = post(targets=json.dumps(asked), sigma=["0.25", "0.5"], joint="true")
    job = records.find_job(redis, answer.json()["id"])
    assert job is not None
    first, second = job.request.targets
    card = load_catalogue().get("bundled-2")
    assert (first.template, first.class_names) == ("An X-ray of {}.", ("normal lung", "pneumonia"))
    assert (second.template, second.class_names) == (card.template, card.class_names)
    assert job.request.certificates_asked == 4


def test_the_address_s_query_is_not_taken_silently(client: TestClient, png: bytes) -> None:
    files = {"image": ("scan.png", png, "image/png")}
    answer = client.post("/certify?sigma=0.5", files=files, data={"sigma": "0.25"})
    assert answer.status_code == 422
    assert answer.json()["code"] == "field_unknown"
