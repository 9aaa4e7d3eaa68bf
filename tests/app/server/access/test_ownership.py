"""What belongs to another key does not exist, at every address that can name it.

The cases are read from the routes. A route with a kind of id that stands in no list here fails, and
so does one at which the owner is answered no better than for an id that nobody ever had.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from fastapi.testclient import TestClient
from httpx2 import Response
from redis import Redis

from app.main import create_app
from app.server.access.api_keys import ApiKey
from app.server.access.routes import Access, list_access
from app.server.jobs.evaluations.record import (
    EndedEvaluation,
    EvaluationFolder,
    LabelledName,
    StoredEvaluation,
)
from app.settings import AppSettings, Quotas
from models.catalogue import load_catalogue
from models.prompts.cards import PromptAdaptation, PromptCard
from models.prompts.prompt import Prompt
from worker.contract import CertificationJob
from worker.contract.certificate.document import FinishedResult
from worker.store import prompts
from worker.store.jobs import records, results

Encode = Callable[..., bytes]
Finish = Callable[..., FinishedResult]
MakeKey = Callable[..., tuple[ApiKey, dict[str, str]]]

OWNED = {
    "certification_id": ("certification",),
    "batch_id": ("batch",),
    "job_id": ("learning",),
    "prompt_id": ("prompt", "prompt_digest", "adapted", "adapted_digest"),
    "evaluation_id": ("evaluation",),
}
SHARED = {"model_id"}
PARTS = {
    "certificate": "0",
    "which": "smoothed",
    "yardstick_id": "dead-pixel",
    "name": "results.json",
}
"""What an address names within a certification or an evaluation."""
NEEDS = {"noisy.png": {"sigma": "0.25"}, "votes": {"sample": "0"}}
KEPT = {("DELETE", "adapted"), ("DELETE", "adapted_digest"), ("DELETE", "prompt_digest")}
"""A prompt is removed by its id, and a tuned one is kept by everyone, its owner too."""


def _list_cases() -> Iterator[tuple[Access, str]]:
    for route in list_access(create_app(AppSettings(keys_file=None)).routes):
        for parameter in re.findall(r"{(\w+)}", route.path):
            if parameter not in SHARED | PARTS.keys():
                assert parameter in OWNED, f"whose is {parameter} of {route.path}? say it in OWNED"
                yield from ((route, kind) for kind in OWNED[parameter])


CASES = list(_list_cases())


@dataclass(frozen=True)
class Lab:
    """A key, and what it owns."""

    headers: dict[str, str]
    ids: dict[str, str]


@pytest.fixture
def settings(settings: AppSettings, tmp_path: Path) -> AppSettings:
    """Those of an app that keeps evaluations."""
    return settings.model_copy(update={"evaluations": tmp_path / "evaluations"})


@pytest.fixture
def other(make_key: MakeKey) -> dict[str, str]:
    """The headers of another key, with every right but to see what is not its own."""
    return make_key("submit", "read", "evaluate")[1]


@pytest.fixture
def lab(
    guarded: TestClient,
    make_key: MakeKey,
    redis: Redis,
    png: bytes,
    encode: Encode,
    finish: Finish,
    tmp_path: Path,
) -> Lab:
    """A key with a finished certification in a batch, a learning, two prompts, an evaluation."""
    key, headers = make_key("submit", "read", "evaluate")
    files = [("image", ("a.png", png, "image/png"))] * 2
    sent = guarded.post("/certify", files=files, data={"sigma": "0.25"}, headers=headers)
    assert sent.status_code == 202, sent.text
    batch = sent.json()
    first = batch["certifications"][0]["id"]
    job = records.find_job(redis, first)
    assert job is not None
    assert job.owner == key.id
    results.put_result(redis, first, finish(job), ttl_s=600)
    prompt = _import(guarded, headers, seed=1)
    assert prompt.status_code == 201, prompt.text
    adapted = _adapt(redis, owner=key.id)
    ids = {
        "certification": first,
        "batch": batch["id"],
        "learning": _learn(guarded, headers, encode),
        "prompt": "lungs",
        "prompt_digest": prompt.json()["sha256"],
        "adapted": adapted.id,
        "adapted_digest": adapted.sha256,
        "evaluation": _keep_evaluation(tmp_path / "evaluations", job),
    }
    return Lab(headers, ids)


def _import(client: TestClient, headers: dict[str, str], *, seed: int) -> Response:
    ctx = np.random.default_rng(seed).normal(size=(4, 64)).astype(np.float32)
    data = {"id": "lungs", "model": "bundled-2", "class_name": ["normal", "pneumonia"]}
    file = ("ctx.bin", safetensors.numpy.save({"ctx": ctx}))
    return client.post("/prompts", files={"file": file}, data=data, headers=headers)


def _learn(client: TestClient, headers: dict[str, str], encode: Encode) -> str:
    image = encode(np.full((64, 64), 90, dtype=np.uint8))
    files = [("image", ("a.png", image, "image/png"))] * 4
    classes = ["normal", "normal", "pneumonia", "pneumonia"]
    data = {"id": "learned", "model": "bundled-2", "shots": "2", "image_class": classes}
    answer = client.post("/prompts/learn", files=files, data=data, headers=headers)
    assert answer.status_code == 202, answer.text
    learning_id: str = answer.json()["id"]
    return learning_id


def _adapt(redis: Redis, *, owner: str) -> PromptCard:
    ctx = np.random.default_rng(9).normal(size=(4, 64)).astype(np.float32)
    prompt = Prompt(ctx=ctx, suffix=".")
    card = PromptCard(
        id=prompts.create_adapted_id(prompt.sha256),
        model="bundled-2",
        weights_sha256=load_catalogue().get("bundled-2").weights_sha256,
        method="zero-shot",
        class_names=("normal", "pneumonia"),
        n_ctx=4,
        width=64,
        suffix=".",
        sha256=prompt.sha256,
        created_at=datetime.now(UTC),
        adaptation=PromptAdaptation(
            image_sha256="1" * 64,
            sigma=0.25,
            copies=100,
            steps=1,
            learning_rate=0.005,
            weight_decay=0.01,
            started_from="A {}.",
        ),
    )
    prompts.put_adapted(redis, card, prompt, ttl_s=600, owner=owner)
    return card


def _keep_evaluation(root: Path, job: CertificationJob) -> str:
    """A cancelled evaluation of the owner of a job, which asks what the job asks."""
    now, request = datetime.now(UTC), job.request
    asked = StoredEvaluation(
        id="e" * 32,
        owner=job.owner,
        quotas=Quotas(),
        submitted_at=now,
        request_id="r",
        fingerprint="1" * 64,
        dataset="bones",
        split="test",
        seed=0,
        listing_sha256="2" * 64,
        files=(LabelledName(name="hand/0.png", class_index=0, sha256="0" * 64),),
        model=request.model,
        architecture="open_clip",
        targets=request.targets,
        sigmas=request.sigmas,
        procedure=request.procedure,
        alpha=request.alpha,
        radii=(Decimal(0),),
    )
    folder = EvaluationFolder(root / asked.id)
    folder.create(asked)
    folder.end(EndedEvaluation(status="cancelled", ended_at=now))
    return asked.id


def _ask(client: TestClient, route: Access, named: str, headers: dict[str, str]) -> Response:
    address = re.sub(r"{(\w+)}", lambda found: PARTS.get(found[1], named), route.path)
    parameters = NEEDS.get(route.path.rsplit("/", 1)[-1], {})
    return client.request(route.method, address, params=parameters, headers=headers)


def _said(answer: Response) -> tuple[int, object]:
    """An answer without what differs from request to request."""
    if not answer.headers.get("content-type", "").startswith("application/problem+json"):
        return answer.status_code, answer.content
    document = answer.json()
    document.pop("request_id")
    return answer.status_code, document


def _dump(redis: Redis) -> dict[bytes, object]:
    return {name: redis.dump(name) for name in redis.scan_iter() if b":limit:" not in name}


@pytest.mark.parametrize(("route", "kind"), CASES, ids=lambda x: x if isinstance(x, str) else None)
def test_what_is_another_keys_is_as_if_it_never_was(
    guarded: TestClient, lab: Lab, other: dict[str, str], redis: Redis, route: Access, kind: str
) -> None:
    named = lab.ids[kind]
    nobodys = re.sub("[0-9a-f]{8,}", lambda digits: "0" * len(digits[0]), named)
    unknown = "nobody" if nobodys == named else nobodys
    before = _dump(redis)
    theirs, never = (_said(_ask(guarded, route, name, other)) for name in (named, unknown))
    assert theirs == never
    assert _dump(redis) == before
    if (route.method, kind) not in KEPT:  # and the owner is told more than that
        assert _said(_ask(guarded, route, named, lab.headers)) != never


@pytest.mark.parametrize("path", ["/certifications", "/prompts"])
def test_lists_hold_only_ones_own(
    guarded: TestClient, lab: Lab, other: dict[str, str], make_key: MakeKey, path: str
) -> None:
    ids = ("certification", "batch", "prompt", "prompt_digest")
    found = {
        name: [each for each in ids if lab.ids[each] in guarded.get(path, headers=headers).text]
        for name, headers in (
            ("owner", lab.headers),
            ("other", other),
            ("admin", make_key("admin", "read")[1]),
        )
    }
    assert found["other"] == []
    assert found["owner"] == found["admin"]
    assert found["owner"]


def test_an_administrator_sees_what_others_own(
    guarded: TestClient, lab: Lab, make_key: MakeKey
) -> None:
    _, headers = make_key("admin", "read")
    for address in ("certifications/{certification}", "batches/{batch}", "prompts/{adapted}"):
        answer = guarded.get(f"/{address.format(**lab.ids)}", headers=headers)
        assert answer.status_code == 200


@pytest.mark.parametrize("kind", ["prompt", "prompt_digest", "adapted", "adapted_digest"])
def test_a_request_cannot_name_another_keys_prompt(
    guarded: TestClient, lab: Lab, other: dict[str, str], png: bytes, kind: str
) -> None:
    def certify(name: str, headers: dict[str, str]) -> Response:
        data = {"sigma": "0.25", "prompt": name}
        return guarded.post("/certify", files={"image": png}, data=data, headers=headers)

    theirs, never = certify(lab.ids[kind], other), certify("nobody", other)
    assert theirs.status_code == never.status_code == 422
    assert theirs.json()["code"] == never.json()["code"]
    assert certify(lab.ids[kind], lab.headers).status_code == 202


def test_a_taken_id_says_nothing_of_who_has_it(
    guarded: TestClient, lab: Lab, other: dict[str, str]
) -> None:
    """Equal vectors or others: it is taken, and that is all; the owner's stay as they are."""
    answers = [_import(guarded, other, seed=seed) for seed in (1, 2)]
    assert _said(answers[0]) == _said(answers[1])
    assert answers[0].json()["code"] == "prompt_id_taken"
    assert lab.ids["prompt_digest"] not in answers[0].text
    assert guarded.get("/prompts/lungs", headers=lab.headers).status_code == 200
    again = _import(guarded, lab.headers, seed=1)
    assert again.status_code == 200


def test_what_everyone_uses_is_removed_by_an_administrator_alone(
    guarded: TestClient, make_key: MakeKey, other: dict[str, str]
) -> None:
    _, admin = make_key("admin", "submit", "read")
    assert _import(guarded, admin, seed=1).status_code == 201
    assert guarded.get("/prompts/lungs", headers=other).status_code == 200
    assert guarded.delete("/prompts/lungs", headers=other).json()["code"] == "scope_missing"
    assert guarded.delete("/prompts/lungs", headers=admin).status_code == 204


def test_an_idempotency_key_is_ones_own(
    guarded: TestClient, lab: Lab, other: dict[str, str], png: bytes
) -> None:
    def certify(headers: dict[str, str]) -> Response:
        headers = {**headers, "Idempotency-Key": "tuesday"}
        data = {"sigma": "0.25"}
        return guarded.post("/certify", files={"image": png}, data=data, headers=headers)

    mine, theirs = certify(lab.headers).json()["id"], certify(other).json()["id"]
    assert mine != theirs
    assert certify(lab.headers).json()["id"] == mine
