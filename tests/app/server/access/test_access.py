"""Every route asks for what it should: the cases are read from the routes, none is written here."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from over_http import fill_in

from app.main import create_app
from app.server.access.api_keys import SCOPES, ApiKey
from app.server.access.routes import PUBLIC, Access, find_scope, list_access
from app.settings import AppSettings

MakeKey = Callable[..., tuple[ApiKey, dict[str, str]]]

ROUTES = list_access(create_app(AppSettings(keys_file=None)).routes)
GUARDED = [route for route in ROUTES if not route.is_public]


def _name(route: Access) -> str:
    return f"{route.method} {route.path}"


@pytest.mark.parametrize("route", ROUTES, ids=_name)
def test_every_route_says_what_it_needs_or_is_public(route: Access) -> None:
    assert (route.scope is None) == route.is_public, (
        "say who may ask, with caller: Reader, Submitter or Administrator "
        "(app.server.access.caller), or add the address to app.server.access.routes"
    )


def test_what_is_public_exists() -> None:
    assert {route.path for route in ROUTES} >= PUBLIC - {"/favicon.ico", "/redoc"}


def test_a_route_that_says_nothing_is_shut() -> None:
    forgotten = Access(method="GET", path="/x", pattern=re.compile("/x"), scope=None)
    assert find_scope([forgotten], "GET", "/x") == find_scope([forgotten], "HEAD", "/x") == "admin"


@pytest.mark.parametrize("route", GUARDED, ids=_name)
def test_no_route_answers_without_a_key(guarded: TestClient, route: Access) -> None:
    answer = guarded.request(route.method, fill_in(route.path))
    assert (answer.status_code, answer.json()["code"]) == (401, "key_missing")


@pytest.mark.parametrize("route", GUARDED, ids=_name)
def test_no_route_takes_a_key_of_other_scopes(
    guarded: TestClient, make_key: MakeKey, route: Access
) -> None:
    _, headers = make_key(*(scope for scope in SCOPES if scope not in (route.scope, "admin")))
    answer = guarded.request(route.method, fill_in(route.path), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "scope_missing")
    assert str(route.scope) in answer.json()["detail"]


@pytest.mark.parametrize("route", GUARDED, ids=_name)
def test_a_key_with_the_scope_admin_may_use_every_route(
    guarded: TestClient, make_key: MakeKey, route: Access
) -> None:
    _, headers = make_key("admin")
    answer = guarded.request(route.method, fill_in(route.path), headers=headers)
    assert answer.status_code not in (401, 403)


def test_an_address_that_does_not_exist_needs_a_key_too(
    guarded: TestClient, make_key: MakeKey
) -> None:
    _, headers = make_key("read")
    assert guarded.get("/nowhere").status_code == 401
    assert guarded.get("/nowhere", headers=headers).json()["code"] == "not_found"
    assert guarded.get("/static/../models").status_code == 401
    assert guarded.get("/static/..%2fmodels").status_code == 404


def test_a_key_is_asked_for_before_the_body_is_read(guarded: TestClient) -> None:
    def body() -> object:
        yield b"--x\r\n"
        raise AssertionError("the body was read")

    answer = guarded.post(
        "/certify", content=body(), headers={"content-type": "multipart/form-data; boundary=x"}
    )
    assert answer.status_code == 401


def test_openapi_says_how_keys_come_and_where_they_are_needed(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    assert set(document["components"]["securitySchemes"]) == {"bearer", "api_key"}
    for route in ROUTES:
        operation = document["paths"].get(route.path, {}).get(route.method.lower())
        if operation is not None:
            needs = [{"bearer": []}, {"api_key": []}] if route.scope else None
            assert operation.get("security") == needs
            assert ({"401", "403"} <= set(operation["responses"])) == bool(route.scope)


def test_no_log_names_a_key(
    guarded: TestClient, make_key: MakeKey, caplog: pytest.LogCaptureFixture, keys_file: Path
) -> None:
    key, headers = make_key("read")
    with caplog.at_level("DEBUG"):
        guarded.get("/models", headers=headers)
        guarded.get("/models", headers={"X-API-Key": headers["Authorization"][7:-1]})
        keys_file.write_text("[")
        guarded.get("/models", headers=headers)
    said = " ".join(f"{record.getMessage()} {record.__dict__}" for record in caplog.records)
    assert headers["Authorization"][20:40] not in said
    assert key.sha256 not in said
