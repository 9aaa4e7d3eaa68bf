"""Bodies are measured before anything is made of them, whichever address takes them."""

import base64
import json
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import anyio
import pytest
from fastapi.testclient import TestClient
from redis import Redis
from starlette.types import Message, Receive, Scope, Send
from waiting import wait_until

from app.main import create_app
from app.server.access.caller import Caller
from app.server.answers.problems import TooBusy
from app.server.middleware.body_limits import HeldBodies
from app.settings import AppSettings
from models.imaging import Decoder

JSON = {"content-type": "application/json"}
HEAD = b'{"image":["AAAA"],"sigma":["0.25"],'


@pytest.mark.parametrize(
    "body",
    [
        HEAD + b'"sigma":[' + b"1," * 200_000 + b"1]}",
        HEAD + b'"a":1,' * 60_000 + b'"b":1}',
        HEAD + b'"model":"' + b"\\u0041" * 200_000 + b'"}',
        HEAD + b" " * 1_100_000 + b'"joint":true}',
    ],
)
def test_json_that_is_too_much_is_400_and_says_what(client: TestClient, body: bytes) -> None:
    answer = client.post("/certify", content=body, headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (400, "json_unreadable")
    assert "beside the images" in answer.json()["detail"]


@pytest.mark.parametrize("escaped", [True, False])
def test_sixteen_targets_of_a_hundred_long_names_are_heard(
    client: TestClient, png: bytes, escaped: bool
) -> None:
    """In any alphabet and spelling, in a form and in JSON."""
    names = [f"{i:03}" + "ж" * 57 for i in range(100)]
    targets = [{"template": f"{i} {{}}.", "class_names": names} for i in range(16)]
    form = {"sigma": "0.25", "targets": json.dumps(targets, ensure_ascii=escaped)}
    document = {"image": [base64.b64encode(png).decode()], "sigma": ["0.25"], "targets": targets}
    body = json.dumps(document, ensure_ascii=escaped).encode()
    for answer in (
        client.post("/certify", files={"image": png}, data=form),
        client.post("/certify", content=body, headers=JSON),
    ):
        assert answer.status_code == 202, answer.json()


@pytest.mark.parametrize("count", [4, 20])
def test_more_images_than_are_taken_are_named_in_every_form(
    client: TestClient, png: bytes, count: int
) -> None:
    text = base64.b64encode(png).decode()
    for sent in (
        {"json": {"image": [text] * count, "sigma": ["0.25"]}},
        {"files": [("image", png)] * count, "data": {"sigma": "0.25"}},
    ):
        answer = client.post("/certify", **sent)
        assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid")
        assert answer.json()["detail"] == "image: expected at most 3 images."


def test_an_image_in_json_may_have_escapes(client: TestClient, png: bytes) -> None:
    text = base64.b64encode(png).decode().replace("/", "\\/").replace("+", "\\u002b")
    body = f'{{"sigma": ["0.25"], "image": ["{text}"]}}'
    assert client.post("/certify", content=body, headers=JSON).status_code == 202


def test_targets_without_end_are_one_error(client: TestClient, png: bytes) -> None:
    fields = {"sigma": "0.25", "targets": f"[{'1,' * 100_000}1]"}
    answer = client.post("/certify", files={"image": png}, data=fields)
    assert answer.status_code == 422
    assert [each["field"] for each in answer.json()["errors"]] == ["targets"]


def test_the_fields_of_a_form_have_a_length_together(client: TestClient, png: bytes) -> None:
    fields = {"sigma": "0.25", "class_name": ["x" * 100_000] * 11}
    answer = client.post("/certify", files={"image": png}, data=fields)
    assert (answer.status_code, answer.json()["code"]) == (400, "form_unreadable")


@pytest.mark.parametrize("path", ["/preview", "/prompts", "/prompts/learn", "/certify"])
def test_a_form_of_another_kind_is_not_read(client: TestClient, path: str) -> None:
    answer = client.post(path, data={f"f{i}": "1" for i in range(2000)})
    assert (answer.status_code, answer.json()["code"]) == (415, "media_type_unsupported")


def test_a_form_in_a_coding_whose_decoding_takes_for_ever_is_refused(client: TestClient) -> None:
    kind = "multipart/form-data; boundary=b; charset=punycode"
    body = b'--b\r\nContent-Disposition: form-data; name="sigma"\r\n\r\n0.25\r\n--b--\r\n'
    answer = client.post("/preview", content=body, headers={"content-type": kind})
    assert (answer.status_code, answer.json()["code"]) == (400, "form_unreadable")


def test_an_address_of_a_thousand_parameters_is_refused(client: TestClient, png: bytes) -> None:
    answer = client.post(
        "/certify?sigma=1" + "&n=1" * 1000, content=png, headers={"content-type": "image/png"}
    )
    assert (answer.status_code, answer.json()["code"]) == (422, "field_unknown")


def test_one_key_holds_half_of_all_bodies_and_others_find_room() -> None:
    async def hold(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await scope["end"].wait()

    async def run() -> list[str]:
        held = HeldBodies(hold, max_bytes=20, max_at_work=9)
        refused, end = list[str](), anyio.Event()

        async def receive() -> Message:
            return {"type": "http.request", "body": b"x" * 5, "more_body": True}

        async def send(message: Message) -> None: ...

        async def ask(key_id: str) -> None:
            state = {"caller": Caller(key_id, frozenset())}
            try:
                await held({"type": "http", "state": state, "end": end}, receive, send)
            except TooBusy:
                refused.append(key_id)

        async with anyio.create_task_group() as group:
            for key_id in ("a", "a", "a", "b", "b", "c"):
                group.start_soon(ask, key_id)
                await anyio.wait_all_tasks_blocked()
            end.set()
        await ask("c")  # there is room again
        return refused

    assert anyio.run(run) == ["a", "c"]


def test_whoever_comes_when_enough_is_worked_on_is_told_at_once_and_a_slow_body_takes_no_turn() -> (
    None
):
    async def hold(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await scope["end"].wait()

    waits = list[int]()

    async def run() -> list[str]:
        held = HeldBodies(hold, max_bytes=1000, max_at_work=2)
        refused, end = list[str](), anyio.Event()

        async def send(message: Message) -> None: ...

        async def ask(name: str, *, slow: bool) -> None:
            async def receive() -> Message:
                return {"type": "http.request", "body": b"x", "more_body": slow}

            scope = {"type": "http", "state": {}, "end": end}
            try:
                await held(scope, receive, send)
            except TooBusy as busy:
                refused.append(name)
                waits.append(int((busy.headers or {})["Retry-After"]))

        async with anyio.create_task_group() as group:
            for name in ("slow", "slow", "slow", "first", "second", "third", "slow", "fourth"):
                group.start_soon(partial(ask, name, slow=name == "slow"))
                await anyio.wait_all_tasks_blocked()
            end.set()
        await ask("fifth", slow=False)  # there is room again
        return refused

    assert anyio.run(run) == ["third", "fourth"]
    assert all(1 <= wait_s <= 60 for wait_s in waits)


def test_a_request_that_waits_for_its_certificate_holds_no_body(
    settings: AppSettings, redis: Redis, decoder: Decoder, png: bytes
) -> None:
    body = png + bytes(60_000)
    two = {"max_body_bytes": len(body) + 100, "max_held_bytes": 1}  # one of a key at a time
    app = create_app(settings.model_copy(update=two), decoder=decoder)

    def ask(**headers: str) -> int:
        sent = {"content-type": "image/png", **headers}
        return client.post("/certify?sigma=0.25", content=body, headers=sent).status_code

    with TestClient(app) as client, ThreadPoolExecutor() as threads:
        waits = threads.submit(ask, prefer="wait=300")
        wait_until(lambda: client.get("/certifications").json()["certifications"])
        wait_until(lambda: ask() == 202)
        assert not waits.done()
        for each in client.get("/certifications").json()["certifications"]:
            client.delete(each["links"]["self"])
        assert waits.result() == 200
