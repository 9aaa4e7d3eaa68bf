"""A slip is told: nothing that was cut or misspelt leaves a default in its place.

What a default could stand in for: a parameter of an address, a field, a value, a part of a form,
the end of a body. Cut forms are in `test_multipart`, cut images in tests/models/imaging.
"""

import base64
import io
import json
import re
import zipfile
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response
from redis import Redis

from app.main import create_app
from app.server.access.routes import Access, list_access
from app.settings import AppSettings

Post = Callable[..., Response]
GUARDED = [route for route in list_access(create_app(AppSettings()).routes) if not route.is_public]


def name_route(route: Access) -> str:
    return f"{route.method} {route.path}"


@pytest.mark.parametrize("route", GUARDED, ids=name_route)
def test_every_address_refuses_a_parameter_that_it_does_not_have(
    client: TestClient, route: Access, redis: Redis
) -> None:
    """Such as `?onyl=cancel`, or `certificat=1` where 0 is the default."""
    address = re.sub(r"\{\w+\}", "0" * 32, route.path)
    image: Any = {"content": b"x", "headers": {"content-type": "image/png"}}
    sent = image if route.path.startswith("/certify") else {}
    answer = client.request(route.method, f"{address}?misspelt=1", **sent)
    assert (answer.status_code, answer.json()["code"]) == (422, "field_unknown")
    assert redis.dbsize() == 0


def test_pages_and_probes_take_any_parameter(client: TestClient) -> None:
    assert client.get("/healthz?x=1").status_code == 200
    assert client.get("/?utm_source=mail").status_code == 200


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("joint", ["ture", "2", "", "null"]),
        ("procedure", ["stagd", "Staged", ""]),
        ("prompting", ["few-shott", "template,few-shot", ""]),
        ("n_max", ["1O00", "1e3", "1_000", "100.0", "-1", "0", ""]),
        ("alpha", ["0,001", ".", "1%", "0", ""]),
        ("attempt", ["-1", "1.0", "two", ""]),
        ("frame", ["-1", "0.0", "first", ""]),
        ("window", ["40", "40;400", "40,", "Auto", ""]),
        ("template", ["An image of", "{} and {}", ""]),
        ("targets", ["[]", "[{}", "{}", '[{"promptting": "template"}]', ""]),
        ("sigma", ["0.25,0.5", "0", ""]),
    ],
)
def test_a_value_that_means_nothing_is_refused_by_name(
    post: Post, redis: Redis, field: str, values: list[str]
) -> None:
    for value in values:
        answer = post(**{field: value})
        assert answer.status_code == 422, value
        assert [each["field"] for each in answer.json()["errors"]] == [field], value
    assert redis.dbsize() == 0


def test_json_that_ends_anywhere_is_never_taken(
    client: TestClient, png: bytes, redis: Redis
) -> None:
    document: dict[str, Any] = {
        "image": [base64.b64encode(png[:60]).decode()],
        "sigma": [0.25],
        "n_max": 10000,
        "joint": True,
    }
    body = json.dumps(document).encode()
    for length in range(0, len(body), 3):
        answer = client.post(
            "/certify", content=body[:length], headers={"content-type": "application/json"}
        )
        assert answer.status_code == 400, body[:length]
    assert redis.dbsize() == 0


def test_a_zip_that_ends_anywhere_teaches_nothing(
    client: TestClient, png: bytes, redis: Redis
) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in ("a/1.png", "a/2.png", "b/1.png", "b/2.png"):
            archive.writestr(name, png)
    data = file.getvalue()
    for length in (len(data) // 3, len(data) // 2, len(data) - 60, len(data) - 22, len(data) - 1):
        answer = client.post(
            "/prompts/learn",
            files={"zip": ("a.zip", data[:length])},
            data={"id": "cut", "shots": "1"},
        )
        assert answer.json()["code"] == "training_images_invalid", length
    assert redis.dbsize() == 0
