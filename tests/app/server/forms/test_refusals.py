"""Bad input: a documented problem, nothing queued, and the next request works."""

import base64
from collections.abc import Callable

import numpy as np
import pytest
from fastapi.testclient import TestClient
from httpx2 import Response
from logged import list_events
from over_http import SECRET, require_problem
from redis import Redis

from worker.store import keyspace

Post = Callable[..., Response]
Encode = Callable[..., bytes]


def test_a_field_that_is_missing_is_named_with_its_rule(post: Post, redis: Redis) -> None:
    document = require_problem(post(sigma=[]), 422, "request_invalid")
    assert document["errors"] == [
        {
            "field": "sigma",
            "detail": "Missing; expected one or more decimal numbers from 0.001 to 10, each named "
            "once.",
        }
    ]
    assert redis.dbsize() == 0


def _empty(_: bytes) -> bytes:
    return b""


def _half(png: bytes) -> bytes:
    return png[: len(png) // 2]


def _text(_: bytes) -> bytes:
    return f"PatientName: {SECRET}\n".encode() * 20


@pytest.mark.parametrize(
    ("spoil", "status", "code"),
    [
        (_empty, 422, "image_empty"),
        (_half, 422, "image_broken"),
        (_text, 415, "image_format_unsupported"),
    ],
)
def test_file_that_is_no_image_is_refused_and_the_next_is_taken(
    post: Post,
    png: bytes,
    queued_ids: Callable[[], list[str]],
    spoil: Callable[[bytes], bytes],
    status: int,
    code: str,
) -> None:
    require_problem(post(spoil(png)), status, code)
    assert queued_ids() == []
    assert post().status_code == 202
    assert len(queued_ids()) == 1


def test_window_too_narrow_is_refused(post: Post, encode: Encode) -> None:
    ramp = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    require_problem(post(encode(ramp), window="40,0"), 422, "window_invalid")


def test_no_image_is_named(client: TestClient) -> None:
    form = {"sigma": (None, "0.25")}
    document = require_problem(client.post("/certify", files=form), 422, "request_invalid")
    assert [error["field"] for error in document["errors"]] == ["image"]


def test_image_that_is_a_text_field_is_refused(client: TestClient) -> None:
    form = {"sigma": (None, "0.25"), "image": (None, SECRET)}
    document = require_problem(client.post("/certify", files=form), 422, "request_invalid")
    assert document["errors"][0]["field"] == "image"


def test_unknown_model_is_refused_with_those_there_are(post: Post, redis: Redis) -> None:
    document = require_problem(post(model="DOE"), 422, "model_unknown")
    assert document["known"] == ["bundled-2", "linear"]
    assert redis.dbsize() == 0


def test_misspelt_field_is_refused(post: Post, redis: Redis) -> None:
    document = require_problem(post(aplha="0.01"), 422, "field_unknown")
    assert "aplha" not in document["detail"]
    assert "Is alpha meant?" in document["detail"]
    assert redis.dbsize() == 0


@pytest.mark.parametrize("name", [f"{SECRET} 1970", "Jane_Doe", "\x00"])
def test_unknown_field_name_is_not_repeated(post: Post, name: str) -> None:
    document = require_problem(post(**{name: "x"}), 422, "field_unknown")
    assert name not in str(document["detail"])


def test_field_given_twice_is_refused(post: Post) -> None:
    require_problem(post(n=["100", "200"]), 422, "field_repeated")


def test_too_many_images_are_refused(post: Post, png: bytes, redis: Redis) -> None:
    require_problem(post(*[png] * 4), 422, "request_invalid")
    assert redis.dbsize() == 0


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded"])
def test_other_media_types_are_refused(client: TestClient, media_type: str) -> None:
    answer = client.post("/certify", content=b"{}", headers={"content-type": media_type})
    require_problem(answer, 415, "media_type_unsupported")


@pytest.mark.parametrize(
    ("media_type", "body"),
    [
        ("multipart/form-data", b"--x\r\n"),
        ("multipart/form-data; boundary=x", b"no boundary at all"),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data\r\n\r\n1\r\n"),
    ],
)
def test_malformed_multipart_is_a_problem(client: TestClient, media_type: str, body: bytes) -> None:
    answer = client.post("/certify", content=body, headers={"content-type": media_type})
    require_problem(answer, 400, "form_unreadable")


def test_declared_body_above_the_limit_is_refused(post: Post) -> None:
    document = require_problem(post(b"\x89PNG" + bytes(2_000_000)), 413, "body_too_large")
    assert "2000000 bytes" in str(document["detail"])


def test_streamed_body_above_the_limit_is_refused(client: TestClient) -> None:
    head = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
    chunks = (part for part in (head, *[bytes(500_000)] * 5))
    media_type = {"content-type": "multipart/form-data; boundary=x"}
    answer = client.post("/certify", content=chunks, headers=media_type)
    require_problem(answer, 413, "body_too_large")


def test_unknown_address_and_wrong_method_are_problems(client: TestClient) -> None:
    require_problem(client.get("/nowhere"), 404, "not_found")
    require_problem(client.get("/static/nothing.js"), 404, "not_found")
    answer = client.get("/certify")
    require_problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "OPTIONS, POST"
    for path, methods in (
        ("/prompts", "GET, HEAD, OPTIONS, POST"),
        (f"/certifications/{'0' * 32}", "DELETE, GET, HEAD, OPTIONS"),
    ):
        answer = client.put(path)
        require_problem(answer, 405, "method_not_allowed")
        assert answer.headers["allow"] == methods


def test_fault_of_our_own_shows_no_stack(
    client: TestClient, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    redis.set(keyspace.learning_job("a" * 32), "not a job " + SECRET)
    answer = client.get("/prompt-jobs/" + "a" * 32)
    document = require_problem(answer, 500, "internal_error")
    assert set(document) == {"type", "title", "status", "code", "detail", "request_id"}
    (event,) = list_events(caplog, "internal_error")
    assert event["request_id"] == document["request_id"]
    assert any("find_job" in line for line in event["stack"])
    assert SECRET not in f"{caplog.text} {event}"


@pytest.mark.parametrize("names", [False, 0, 1.5, "ab", {"a": 1}])
def test_class_names_of_another_type_are_refused(client, png, names) -> None:
    image = base64.b64encode(png).decode()
    document = {"image": [image], "sigma": ["0.25"], "targets": [{"class_names": names}]}
    answer = client.post("/certify/json", json=document)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "targets")
