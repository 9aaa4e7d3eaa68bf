"""Prompts over HTTP: what is imported is what every worker finds."""

import json
from collections.abc import Callable

import numpy as np
import pytest
import safetensors.numpy
from fastapi.testclient import TestClient
from httpx2 import Response
from over_http import SECRET, require_problem
from redis import Redis

from models.catalogue import load_catalogue
from models.prompts.catalogue import SHIPPED
from models.prompts.prompt import Prompt
from worker.contract.prompt import EncodedPrompt
from worker.jobs.publish_prompts import publish_prompts
from worker.store import keyspace, prompts

Import = Callable[..., Response]


def _create_ctx(*, seed: int = 0, rows: int = 4, width: int = 64) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, width)).astype(np.float32)


def _save(ctx: np.ndarray) -> bytes:
    return safetensors.numpy.save({"ctx": ctx})


def _to_json(values: np.ndarray, **changes: object) -> bytes:
    encoded = EncodedPrompt.of(Prompt(ctx=values, suffix=" on film."))
    return json.dumps(encoded.model_dump() | changes).encode()


@pytest.fixture
def send(client: TestClient) -> Import:
    """Sends a good request to POST /prompts, apart from what is said."""

    def post(content: bytes | None = None, **fields: object) -> Response:
        data = {"id": "lungs", "model": "bundled-2", "class_name": ["normal", "pneumonia"]} | fields
        file = ("ctx.bin", _save(_create_ctx()) if content is None else content)
        return client.post("/prompts", files={"file": file}, data=data)

    return post


def test_an_imported_prompt_is_shown_and_downloaded_as_it_was(
    send: Import, client: TestClient, redis: Redis
) -> None:
    ctx = _create_ctx()
    answer = send(suffix=" in a scan.", licence="MIT", source="Example 2026")
    assert answer.status_code == 201
    card = answer.json()
    prompt = Prompt(ctx=ctx, suffix=" in a scan.")
    assert answer.headers["location"] == card["links"]["self"] == "/prompts/lungs"
    assert (card["sha256"], card["n_ctx"], card["width"]) == (prompt.sha256, 4, 64)
    assert (card["method"], card["licence"]) == ("imported", "MIT")
    assert card["weights_sha256"] == load_catalogue().get("bundled-2").weights_sha256
    assert client.get("/prompts/lungs").json() == card
    assert client.get(f"/prompts/{prompt.sha256}").json() == card
    whole = safetensors.numpy.save({"ctx": ctx}, metadata={"suffix": card["suffix"]})
    assert client.get(card["links"]["safetensors"]).content == whole
    encoded = EncodedPrompt.model_validate(client.get(card["links"]["ctx"]).json())
    assert encoded.decode().sha256 == prompt.sha256
    found = prompts.find_prompt(redis, prompt.sha256)
    assert found is not None
    np.testing.assert_array_equal(found.decode().ctx, ctx)


def test_json_and_half_precision_are_taken_exactly(send: Import, client: TestClient) -> None:
    ctx = _create_ctx()
    answer = send(_to_json(ctx), id="from-json")
    assert answer.status_code == 201
    assert answer.json()["suffix"] == " on film."
    half = _create_ctx(seed=1).astype(np.float16)
    answer = send(_save(half), id="half")
    assert answer.status_code == 201
    assert answer.json()["sha256"] == Prompt(ctx=half.astype(np.float32)).sha256


def test_what_one_service_answers_another_takes(send: Import, client: TestClient) -> None:
    send()
    again = send(client.get("/prompts/lungs/ctx").content, id="again")
    assert again.json()["sha256"] == client.get("/prompts/lungs").json()["sha256"]


def test_prompts_are_listed_by_id_and_by_model(send: Import, client: TestClient) -> None:
    send(id="second")
    send(_save(_create_ctx(seed=1)), id="first")

    def list_ids(query: str = "") -> list[str]:
        return [prompt["id"] for prompt in client.get(f"/prompts{query}").json()["prompts"]]

    assert list_ids() == list_ids("?model=bundled-2") == ["first", "second"]
    assert list_ids("?model=other") == []


def test_the_same_prompt_again_is_the_one_there_is(send: Import) -> None:
    first = send()
    again = send(class_name=["other", "names"])
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == first.json()


def test_an_id_names_one_prompt_also_after_its_removal(send: Import, client: TestClient) -> None:
    send()
    other = _save(_create_ctx(seed=1))
    require_problem(send(other), 409, "prompt_id_taken")
    assert client.delete("/prompts/lungs").status_code == 204
    require_problem(client.get("/prompts/lungs"), 404, "prompt_not_found")
    require_problem(client.delete("/prompts/lungs"), 404, "prompt_not_found")
    require_problem(send(other), 409, "prompt_id_taken")
    assert send().status_code == 201


def test_a_removed_prompt_serves_the_jobs_accepted_before(
    send: Import, client: TestClient, redis: Redis
) -> None:
    sha256 = send().json()["sha256"]
    client.delete("/prompts/lungs")
    assert prompts.find_prompt(redis, sha256) is not None
    assert 0 < redis.ttl(keyspace.prompt(sha256)) <= 24 * 3600


def test_a_prompt_that_ships_is_not_removed(client: TestClient, redis: Redis) -> None:
    publish_prompts(redis, None)  # as every worker host does
    shipped = next(SHIPPED.glob("*.toml")).stem
    require_problem(client.delete(f"/prompts/{shipped}"), 409, "prompt_ships")
    assert client.get(f"/prompts/{shipped}").status_code == 200


@pytest.mark.parametrize("name", ["none", "0" * 64, "A B", "%2e%2e%2fetc", "zero-shot-" + "0" * 16])
@pytest.mark.parametrize("path", ["", "/ctx", "/ctx.safetensors"])
def test_a_prompt_that_is_not_there_is_a_problem(client: TestClient, name: str, path: str) -> None:
    answer = client.get(f"/prompts/{name}{path}")
    assert answer.json()["code"] in ("prompt_not_found", "not_found")
    assert answer.status_code == 404


@pytest.mark.parametrize(
    ("fields", "field", "rule"),
    [
        ({"id": "A"}, "id", "a name of at most 64"),
        ({"id": "../x"}, "id", "a name of at most 64"),
        ({"id": "zero-shot-mine"}, "id", "neither begins with zero-shot-"),
        ({"id": "0123456789abcdef" * 4}, "id", "64 hexadecimal digits"),
        ({"class_name": [SECRET]}, "class_name", "2 to 100 class names"),
        ({"class_name": [SECRET, SECRET]}, "class_name", "2 to 100 class names"),
        ({"suffix": "a\nb"}, "suffix", "printable"),
        ({"suffix": "x" * 201}, "suffix", "at most 200"),
        ({"suffix": ""}, "suffix", "no empty value"),
        ({"model": "x" * 65}, "model", "the id of a model"),
    ],
)
def test_a_field_out_of_range_is_named_and_nothing_is_stored(
    send: Import, redis: Redis, fields: dict[str, object], field: str, rule: str
) -> None:
    document = require_problem(send(**fields), 422, "request_invalid")
    (error,) = document["errors"]
    assert error["field"] == field
    assert rule in error["detail"]
    assert redis.dbsize() == 0


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (_save(_create_ctx(width=512)), "width 64; got vectors of width 512"),
        (_save(_create_ctx(rows=65)), "1 to 64 context vectors"),
        (_save(np.zeros((2, 4, 64), np.float32)), "got class-specific ones"),
        (_save(np.full((2, 64), np.nan, np.float32)), "finite numbers"),
        (_save(_create_ctx())[:-1], "damaged or truncated"),
        (safetensors.numpy.save({SECRET: _create_ctx()}), "one tensor named ctx"),
        (_to_json(_create_ctx(), n_ctx=5), "as in GET /prompts/{id}/ctx"),
        (_to_json(_create_ctx(), ctx=SECRET), "as in GET /prompts/{id}/ctx"),
        (b'{"' + SECRET.encode() + b'": 1}', "as in GET /prompts/{id}/ctx"),
    ],
)
def test_a_file_without_a_prompt_for_the_model_is_a_sentence(
    send: Import, redis: Redis, content: bytes, said: str
) -> None:
    document = require_problem(send(content), 422, "prompt_invalid")
    assert said in str(document["detail"])
    assert redis.dbsize() == 0


@pytest.mark.parametrize("content", [b"PK\x03\x04" + bytes(64), b"\x80\x02}q", b"", b"text"])
def test_a_checkpoint_of_torch_is_sent_to_the_command_line(
    send: Import, redis: Redis, content: bytes
) -> None:
    document = require_problem(send(content), 415, "prompt_format_unsupported")
    assert "promptsmooth prompts import" in str(document["detail"])
    assert redis.dbsize() == 0


def test_other_requests_that_are_wrong_are_problems(send: Import, client: TestClient) -> None:
    document = require_problem(send(model="none"), 422, "model_unknown")
    assert document["known"] == ["bundled-2", "linear"]
    document = require_problem(send(model="linear"), 422, "prompt_invalid")
    assert "takes no context vectors" in str(document["detail"])
    document = require_problem(send(_to_json(_create_ctx()), suffix="."), 422, "request_invalid")
    assert "has its own suffix" in str(document["detail"])
    document = require_problem(send(clas_name="x"), 422, "field_unknown")
    assert "class_name" in str(document["detail"])
    require_problem(send(id=["a", "b"]), 422, "field_repeated")
    require_problem(send(bytes(5_000_000)), 413, "body_too_large")
    answer = client.post("/prompts", json={"id": "lungs"})
    require_problem(answer, 415, "media_type_unsupported")
    require_problem(client.put("/prompts/lungs"), 405, "method_not_allowed")
