"""What pages of other origins may do, methods that are none, and how much is done at a time."""

import anyio
import pytest
from fastapi.testclient import TestClient
from redis import Redis
from starlette.types import Message, Receive, Scope, Send

from app.main import create_app
from app.server.middleware.admission import Admission
from app.settings import AppSettings
from models.imaging import Decoder

OURS, THEIRS = "https://pacs.hospital.example", "https://evil.example"


def _preflight(client: TestClient, origin: str, **headers: str) -> object:
    asked = {"Origin": origin, "Access-Control-Request-Method": "POST", **headers}
    return client.options("/certify", headers=asked)


def test_no_other_origin_is_let_in_by_default(client: TestClient) -> None:
    asked = _preflight(client, OURS)  # OPTIONS names the methods, and lets no page in
    assert not [name for name in asked.headers if name.startswith("access-control-")]
    answer = client.get("/models", headers={"Origin": OURS})
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_an_origin_that_is_named_may_use_it_and_no_other(
    settings: AppSettings, redis: Redis, decoder: Decoder
) -> None:
    open_to_ours = settings.model_copy(update={"allowed_origins": (OURS,)})
    with TestClient(create_app(open_to_ours, decoder=decoder)) as client:
        asked = _preflight(client, OURS, **{"Access-Control-Request-Headers": "authorization"})
        assert asked.status_code == 200
        assert asked.headers["access-control-allow-origin"] == OURS
        assert "access-control-allow-credentials" not in asked.headers
        answer = client.get("/models", headers={"Origin": OURS})
        assert answer.headers["access-control-allow-origin"] == OURS
        assert "Retry-After" in answer.headers["access-control-expose-headers"]
        for refused in (
            _preflight(client, THEIRS),
            _preflight(client, OURS, **{"Access-Control-Request-Method": "PUT"}),
            _preflight(client, OURS, **{"Access-Control-Request-Headers": "X-Other"}),
        ):
            assert (refused.status_code, refused.json()["code"]) == (403, "origin_refused")
            assert refused.headers["content-type"] == "application/problem+json"
        answer = client.get("/models", headers={"Origin": THEIRS})
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    "sent",
    [
        {"Origin": THEIRS},
        {"Origin": "null"},
        {"Origin": "http://testserver:8001"},
        {"Origin": "http://["},
        {"Origin": "http://testserver:x"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://127.0.0.1"},
    ],
)
def test_a_page_of_another_origin_changes_nothing(
    client: TestClient, png: bytes, redis: Redis, sent: dict[str, str]
) -> None:
    for answer in (
        client.post("/certify", files={"image": png}, data={"sigma": "0.25"}, headers=sent),
        client.post("/prompts", files={"file": b"x"}, data={"id": "taken"}, headers=sent),
        client.post("/prompts/learn", data={"id": "taken"}, headers=sent),
        client.post("/preview", files={"image": png}, headers=sent),
        client.delete("/prompts/some", headers=sent),
    ):
        assert (answer.status_code, answer.json()["code"]) == (403, "origin_refused")
    assert redis.dbsize() == 0
    assert client.get("/models", headers=sent).status_code == 200  # no page can read the answer


@pytest.mark.parametrize(
    "sent",
    [
        {},
        {"Origin": "http://127.0.0.1"},
        {"Sec-Fetch-Site": "same-origin", "Origin": "https://name-before-a-proxy.example"},
        {"Sec-Fetch-Site": "none"},
    ],
)
def test_the_services_own_page_and_other_clients_are_heard(
    client: TestClient, png: bytes, sent: dict[str, str]
) -> None:
    headers = {"Host": "127.0.0.1", **sent}
    answer = client.post("/certify", files={"image": png}, data={"sigma": "0.25"}, headers=headers)
    assert answer.status_code == 202


@pytest.mark.parametrize(
    ("origin", "host", "heard"),
    [
        ("http://lab.local", "Lab.local", True),
        ("http://lab.local", "lab.local:80", True),
        ("https://lab.local", "lab.local:443", True),
        ("https://lab.local:443", "lab.local", True),
        ("http://[::1]:8000", "[::1]:8000", True),
        ("https://lab.local", "lab.local:80", False),
        ("http://lab.local", "lab.local:443", False),
        ("http://lab.local", "lab.local:8000", False),
        ("http://lab.local.example", "lab.local", False),
        ("file://", "", False),
        ("http://lab.local:x", "lab.local:x", False),
    ],
)
def test_an_origin_is_this_host_in_any_case_and_with_the_port_of_its_scheme(
    client: TestClient, origin: str, host: str, heard: bool
) -> None:
    answer = client.delete("/prompts/some", headers={"Origin": origin, "Host": host})
    assert answer.json()["code"] == ("prompt_not_found" if heard else "origin_refused")


def test_pages_of_a_named_origin_may_send(
    settings: AppSettings, redis: Redis, png: bytes, decoder: Decoder
) -> None:
    open_to_ours = settings.model_copy(update={"allowed_origins": (OURS,)})
    with TestClient(create_app(open_to_ours, decoder=decoder)) as client:
        for origin, status in ((OURS, 202), (THEIRS, 403)):
            answer = client.post(
                "/certify",
                files={"image": png},
                data={"sigma": "0.25"},
                headers={"Origin": origin, "Sec-Fetch-Site": "cross-site"},
            )
            assert answer.status_code == status


@pytest.mark.parametrize("method", ["TRACE", "PUT", "PATCH", "GET", "HEAD", "PROPFIND"])
def test_a_method_that_is_none_is_a_problem(client: TestClient, method: str) -> None:
    answer = client.request(method, "/certify")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "OPTIONS, POST"
    assert "authorization" not in answer.text.lower()


def test_more_than_so_many_requests_are_refused_and_the_next_is_taken() -> None:
    async def wait(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def run() -> list[int]:
        admission, statuses = Admission(wait, limit=2), list[int]()
        free = anyio.Event()

        async def receive() -> Message:
            await free.wait()
            return {"type": "http.request"}

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        async def ask(path: str) -> None:
            state = {"request_id": "0" * 32}
            await admission({"type": "http", "path": path, "state": state}, receive, send)

        async with anyio.create_task_group() as group:
            for path in ("/certify", "/certify", "/healthz", "/certify"):
                group.start_soon(ask, path)
            await anyio.wait_all_tasks_blocked()
            free.set()
        await ask("/certify")
        return statuses

    assert anyio.run(run) == [503, 200, 200, 200, 200]
