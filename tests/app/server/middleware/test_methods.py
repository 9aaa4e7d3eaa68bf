"""HEAD and OPTIONS of every address, and Allow where a method is not answered."""

import re
from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response
from over_http import fill_in

from app.main import create_app
from app.server.access.api_keys import ApiKey
from app.server.access.routes import Access, list_access
from app.settings import AppSettings

MakeKey = Callable[..., tuple[ApiKey, dict[str, str]]]
Post = Callable[..., Response]
ROUTES = list_access(create_app(AppSettings(keys_file=None)).routes)
ADDRESSES = sorted({route.path for route in ROUTES})
# What differs between two answers to the same request.
_OWN = {"x-request-id", "date"}


def _headers(answer: Response) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name not in _OWN}


@pytest.mark.parametrize("path", ["/", "/models", "/version", "/nowhere", "/static/docs.js"])
@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_head_is_get_without_its_content(client: TestClient, path: str, encoding: str) -> None:
    asked = {"Accept-Encoding": encoding}
    got, head = client.get(path, headers=asked), client.head(path, headers=asked)
    assert head.status_code == got.status_code
    assert _headers(head) == _headers(got)
    if "content-encoding" not in got.headers:
        assert int(head.headers["content-length"]) == len(got.content) > 0
    assert head.content == b""


def test_head_revalidates_as_get_does(client: TestClient) -> None:
    tag = client.head("/models").headers["etag"]
    answer = client.head("/models", headers={"If-None-Match": tag})
    assert (answer.status_code, answer.headers["etag"]) == (304, tag)


def test_head_of_a_stream_ends_with_its_headers(client: TestClient, post: Post) -> None:
    """GET would last as long as the job, which nobody runs."""
    events = post().json()["links"]["events"]
    answer = client.head(events)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-type"].startswith("text/event-stream")


def test_head_is_counted_under_the_address_that_it_names(client: TestClient) -> None:
    client.head("/models/bundled-2")
    assert 'method="HEAD",route="/models/{model_id}",status="200"' in client.get("/metrics").text


def test_head_and_options_need_the_key_that_the_address_needs(
    guarded: TestClient, make_key: MakeKey
) -> None:
    _, submits = make_key("submit")
    for method in ("HEAD", "OPTIONS"):
        assert guarded.request(method, "/models").status_code == 401
    assert guarded.head("/models", headers=submits).status_code == 403
    assert guarded.options("/models", headers=submits).status_code == 204
    assert guarded.head("/healthz").status_code == 200


@pytest.mark.parametrize("path", ADDRESSES)
def test_options_names_every_method_of_the_address(client: TestClient, path: str) -> None:
    answer = client.options(fill_in(path))
    assert (answer.status_code, answer.content) == (204, b"")
    allowed = set(answer.headers["allow"].split(", "))
    named = {route.method for route in ROUTES if route.path == path}
    assert allowed == named | {"OPTIONS"} | ({"HEAD"} if "GET" in named else set())
    refused = client.request("PATCH", fill_in(path))
    assert refused.status_code == 405
    assert refused.headers["allow"] == answer.headers["allow"]


def test_options_of_an_address_with_nothing_there_is_404(client: TestClient) -> None:
    assert client.options("/nowhere").json()["code"] == "not_found"
    assert client.options("/static/docs.js").headers["allow"] == "GET, HEAD, OPTIONS"


def test_a_route_with_more_parameters_does_not_hide_one_with_fewer() -> None:
    from app.server.access.routes import list_methods

    wide = Access(method="GET", path="/x/{y}", pattern=re.compile("/x/.+"), scope="read")
    exact = Access(method="POST", path="/x/z", pattern=re.compile("/x/z"), scope="read")
    assert list_methods([wide, exact], "/x/z") == ("OPTIONS", "POST")
    assert list_methods([wide, exact], "/x/other") == ("GET", "HEAD", "OPTIONS")
