"""What worker hosts say of a model: shown, and a reason to refuse what none of them could serve."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from redis import Redis

from app.main import create_app
from app.server.answers.problems import ModelUnknown
from app.server.jobs.capacity.model_hosts import require_card
from models.catalogue import load_catalogue
from worker.contract import ModelRef, ModelState, WorkerReport
from worker.store import hosts

Announce = Callable[..., None]


@pytest.fixture
def announce(redis: Redis, models_folder: Path) -> Announce:
    """A host that says something of the models, by id: a state's fields, or the state alone."""
    catalogue = load_catalogue(models_folder)

    def say(name: str, *, ready: bool = True, **models: object) -> None:
        def state(model_id: str, said: object) -> ModelState:
            ref = ModelRef(id=model_id, sha256=catalogue.get(model_id).sha256)
            fields = said if isinstance(said, dict) else {"state": said}
            return ModelState(model=ref, **fields)

        report = WorkerReport(
            name=name,
            started_at=datetime.now(UTC),
            ready=ready,
            key_commitment="0" * 64,
            states=tuple(state(*item) for item in models.items()) if ready else None,
        )
        hosts.announce(redis, report)

    return say


BUNDLED = "bundled-2"  # no name of a Python argument
MISSING = {"state": "missing", "missing_files": ("linear.safetensors",)}
UNUSABLE = {"state": "unusable", "detail": "The file is another one."}


def test_models_show_what_each_host_says_of_them(client: TestClient, announce: Announce) -> None:
    announce("a", linear="loading", **{BUNDLED: {"state": "ready", "memory_bytes": 24}})
    announce("b", linear=MISSING, **{BUNDLED: "present"})
    announce("c", ready=False)
    shown = {model["id"]: model["hosts"] for model in client.get("/models").json()["models"]}
    assert [(h["name"], h["state"], h["memory_bytes"]) for h in shown["bundled-2"]] == [
        ("a", "ready", 24),
        ("b", "present", 0),
    ]
    assert [(h["name"], h["state"], h["missing_files"]) for h in shown["linear"]] == [
        ("a", "loading", []),
        ("b", "missing", ["linear.safetensors"]),
    ]
    assert client.get("/models/linear").json()["hosts"] == shown["linear"]


def test_a_request_that_no_host_could_serve_is_refused_and_nothing_is_queued(
    post, announce: Announce, queued_ids
) -> None:
    announce("a", linear=MISSING, **{BUNDLED: "ready"})
    announce("b", linear=UNUSABLE, **{BUNDLED: "ready"})
    announce("c", **{BUNDLED: "ready"})
    answer = post(model="linear")
    assert (answer.status_code, answer.json()["code"]) == (503, "model_unavailable")
    assert answer.headers["retry-after"]
    assert "missing: linear.safetensors; The file is another one." in answer.json()["detail"]
    assert queued_ids() == []
    assert post(model="bundled-2").status_code == 202


@pytest.mark.parametrize(
    "other",
    [{"linear": "ready"}, {"linear": "loading"}, {"linear": "present"}, {"ready": False}],
    ids=lambda said: "-".join(map(str, next(iter(said.items())))),
)
def test_a_request_that_some_host_may_serve_is_queued(
    post, announce: Announce, other: dict[str, object]
) -> None:
    announce("a", linear=MISSING)
    announce("b", **other)
    assert post(model="linear").status_code == 202


def test_a_learning_that_no_host_could_do_is_refused(
    client: TestClient, announce: Announce, png: bytes
) -> None:
    announce("a", **{BUNDLED: MISSING})
    answer = client.post(
        "/prompts/learn",
        files=[("image", ("a.png", png, "image/png"))] * 2,
        data={"id": "x", "image_class": ["a", "b"], "class_name": ["a", "b"]},
    )
    assert (answer.status_code, answer.json()["code"]) == (503, "model_unavailable")


@pytest.mark.parametrize(
    ("said", "ready"),
    [("ready", True), ("present", True), ("loading", True), (MISSING, False), (UNUSABLE, False)],
    ids=str,
)
def test_readiness_is_that_of_the_default_model(
    client: TestClient, announce: Announce, said: object, *, ready: bool
) -> None:
    announce("a", linear="ready", **{BUNDLED: said})
    assert (client.get("/readyz").status_code == 200) == ready


def test_a_model_whose_weights_were_never_added_is_shown_and_refused_with_what_to_do(
    client: TestClient, post
) -> None:
    shown = {model["id"]: model for model in client.get("/models").json()["not_added"]}
    assert shown.keys() == {m.id for m in load_catalogue().list_not_added()} > {"plip"}
    refused = post(model="plip")
    assert (refused.status_code, refused.json()["code"]) == (422, "model_unknown")
    assert "promptsmooth models add plip" in refused.json()["detail"]
    assert refused.json()["known"] == ["bundled-2", "linear"]


def test_a_retired_model_is_refused_with_the_reason_and_what_to_name_instead(post) -> None:
    refused = post(model="bundled").json()
    assert refused["code"] == "model_unknown"
    assert "was retired: its text tower" in refused["detail"]
    assert "Use the model 'bundled-2'" in refused["detail"]


def test_a_model_with_a_bad_card_is_refused_by_a_sentence_without_its_place(tmp_path):
    (tmp_path / "spoilt.toml").write_text("id = ")
    with pytest.raises(ModelUnknown, match=r"'spoilt' is not served: its card .* not valid") as no:
        require_card(load_catalogue(tmp_path), "spoilt")
    assert str(tmp_path) not in str(no.value)


def test_a_model_with_a_bad_card_is_shown_without_its_place(settings, redis, decoder, tmp_path):
    (tmp_path / "spoilt.toml").write_text("id = ")
    app = create_app(settings.model_copy(update={"models": tmp_path}), decoder=decoder)
    with TestClient(app) as client:
        answer = client.get("/models")
    assert [model["id"] for model in answer.json()["models"]] == ["bundled-2"]
    (shown,) = answer.json()["not_valid"]
    assert (shown["id"], "models list says why" in shown["detail"]) == ("spoilt", True)
    assert str(tmp_path) not in answer.text
