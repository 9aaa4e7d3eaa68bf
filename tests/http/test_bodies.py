"""POST /certify as a form, as JSON and as an image file: one request, alike in all it refuses."""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response
from pydicom.data import get_testdata_file
from redis import Redis

from worker.contract import CertifyRequest
from worker.store.jobs import records

Ids = Callable[[], list[str]]
ASKED: dict[str, Any] = {
    "sigma": ["0.10", "0.25"],
    "class_name": ["normal lung", "pneumonia"],
    "template": "An X-ray of {}.",
    "n_max": "500",
    "alpha": "1e-4",
    "attempt": "3",
    "joint": "true",
}


class Sender:
    """Sends one request in each of the three ways."""

    def __init__(self, client: TestClient, redis: Redis) -> None:
        self.client, self.redis = client, redis

    def form(self, image: bytes, **asked: object) -> Response:
        return self.client.post("/certify", files={"image": ("a", image)}, data=asked)

    def json(self, image: bytes, **asked: object) -> Response:
        return self.document({"image": [base64.b64encode(image).decode()], **asked})

    def file(self, image: bytes, **asked: object) -> Response:
        headers = {"content-type": "image/png"}
        return self.client.post("/certify", params=asked, content=image, headers=headers)

    def document(self, document: object) -> Response:
        return self.client.post(
            "/certify", content=json.dumps(document), headers={"content-type": "application/json"}
        )

    def request(self, answer: Response) -> CertifyRequest:
        assert answer.status_code == 202, answer.text
        job = records.find_job(self.redis, answer.json()["id"])
        assert job is not None
        return job.request


@pytest.fixture
def sender(client: TestClient, redis: Redis) -> Sender:
    return Sender(client, redis)


def test_the_three_ways_ask_for_the_same(sender: Sender, png: bytes) -> None:
    as_numbers = {**ASKED, "sigma": [0.1, 0.25], "n_max": 500, "attempt": 3, "joint": True}
    asked = sender.request(sender.form(png, **ASKED))
    assert sender.request(sender.json(png, **as_numbers)) == asked
    assert sender.request(sender.json(png, **(ASKED | {"joint": True}))) == asked
    assert sender.request(sender.file(png, **ASKED)) == asked


def test_a_number_in_json_keeps_its_digits(sender: Sender, png: bytes) -> None:
    """A float would make 0.30000000000000004 of it, and then another noise."""
    text = json.dumps({"image": [base64.b64encode(png).decode()], "sigma": ["S"]})
    body = text.replace('"S"', "0.3000000001")
    answer = sender.client.post(
        "/certify", content=body, headers={"content-type": "application/json"}
    )
    assert str(sender.request(answer).sigmas[0]) == "0.3000000001"


def test_targets_are_a_list_in_json(sender: Sender, png: bytes) -> None:
    targets = [{"class_names": ["a", "b"]}, {"class_names": ["c", "d"]}]
    request = sender.request(sender.json(png, sigma=["0.25"], targets=targets))
    assert [target.class_names for target in request.targets] == [("a", "b"), ("c", "d")]


def test_several_images_in_json_are_a_batch(sender: Sender, png: bytes, queued_ids: Ids) -> None:
    text = base64.b64encode(png).decode()
    answer = sender.document({"image": [text, text], "sigma": [0.25]})
    assert answer.status_code == 202
    assert len(queued_ids()) == answer.json()["total"] == 2


def test_a_dicom_file_is_taken_as_it_is(sender: Sender) -> None:
    path = get_testdata_file("CT_small.dcm")
    assert isinstance(path, str)
    answer = sender.client.post(
        "/certify?sigma=0.25&window=40,400",
        content=Path(path).read_bytes(),
        headers={"content-type": "application/dicom"},
    )
    shown = answer.json()
    assert answer.status_code == 202
    assert (shown["input"]["source"], shown["input"]["window"]) == ("dicom", [40.0, 400.0])


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"sigma": []}, "request_invalid", "sigma"),
        ({"model": "none"}, "model_unknown", None),
        ({"sigmas": "0.25"}, "field_unknown", None),
    ],
)
def test_the_three_ways_are_refused_alike(
    sender: Sender, png: bytes, redis: Redis, changes: dict[str, Any], code: str, field: str | None
) -> None:
    asked = {"sigma": ["0.25"], **changes}
    for answer in (sender.form(png, **asked), sender.json(png, **asked), sender.file(png, **asked)):
        problem = answer.json()
        assert (answer.status_code, problem["code"]) == (422, code)
        assert [each["field"] for each in problem.get("errors", [])] == [field] * bool(field)
    assert redis.dbsize() == 0


@pytest.mark.parametrize(
    ("document", "status", "code"),
    [
        ("", 400, "json_unreadable"),
        ("{", 400, "json_unreadable"),
        ("[]", 400, "json_unreadable"),
        ('{"sigma": [0.25], "sigma": [0.5]}', 400, "json_unreadable"),
        ('{"sigma": [NaN]}', 400, "json_unreadable"),
        ("[" * 100_000, 400, "json_unreadable"),
        ('{"sigma": [0.25], "template": "\\ud800 {}"}', 400, "json_unreadable"),
        ('{"sigma": [0.25], "targets": [{"template": "{} \\uDFFF"}]}', 400, "json_unreadable"),
        ("{}", 422, "request_invalid"),
        ('{"image": [], "sigma": [0.25]}', 422, "request_invalid"),
        ('{"image": "PNG", "sigma": [0.25]}', 422, "request_invalid"),
        ('{"image": ["not base64"], "sigma": [0.25]}', 422, "request_invalid"),
        ('{"image": [12345678], "sigma": [0.25]}', 422, "request_invalid"),
        ('{"image": ["IMG"], "sigma": 0.25}', 422, "request_invalid"),
        ('{"image": ["IMG"], "sigma": [0.25], "joint": "true"}', 422, "request_invalid"),
        ('{"image": ["IMG"], "sigma": [0.25], "joint": 1}', 422, "request_invalid"),
        ('{"image": ["IMG"], "sigma": [0.25], "n_max": 1e3}', 422, "request_invalid"),
        ('{"image": ["IMG"], "sigma": [0.25], "n_max": true}', 422, "request_invalid"),
        ('{"image": ["IMG"], "sigma": [0.25], "model": 5}', 422, "request_invalid"),
        ('{"image": ["IMG"], "sigma": [0.25], "prompt": [5]}', 422, "request_invalid"),
        ('{"image": ["IMG"], "sigma": [0.25], "targets": "[{}]"}', 422, "request_invalid"),
        ('{"image": ["IMG"], "sigma": [0.25], "targets": [{"prompt": 5}]}', 422, "request_invalid"),
        ('{"image": ["IMG"], "sigma": [{}]}', 422, "request_invalid"),
    ],
)
def test_json_that_means_nothing_is_refused(
    client: TestClient, redis: Redis, png: bytes, document: str, status: int, code: str
) -> None:
    body = document.replace("IMG", base64.b64encode(png).decode())
    answer = client.post("/certify", content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert redis.dbsize() == 0


def test_null_is_what_is_left_out(sender: Sender, png: bytes) -> None:
    plain = sender.request(sender.json(png, sigma=[0.25]))
    nulls = {"model": None, "template": None, "n_max": None, "targets": None}
    assert sender.request(sender.json(png, sigma=[0.25], **nulls)) == plain


def test_an_empty_file_is_refused(sender: Sender) -> None:
    assert sender.file(b"", sigma="0.25").json()["code"] == "image_empty"


def test_a_body_of_another_type_is_told_which_are_taken(client: TestClient) -> None:
    answer = client.post("/certify", content=b"x", headers={"content-type": "image/svg+xml"})
    assert (answer.status_code, answer.json()["code"]) == (415, "media_type_unsupported")
    assert "application/dicom" in answer.json()["detail"]
