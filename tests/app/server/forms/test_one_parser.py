"""One request, one parser: HTTP and the command line refuse the same fields in the same words."""

import base64
import json
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from fastapi.testclient import TestClient
from httpx2 import Response
from redis import Redis
from same_noise import with_secret
from typer.testing import CliRunner

from app.cli.__main__ import cli
from app.local.engine import find_prompts, prepare_request
from app.request.certify import CertifyFields, parse_fields
from models.catalogue import load_catalogue
from models.catalogue.retired import find_retirement
from models.files.untrusted_text import parse_strict
from models.prompts.cards import PromptCard
from models.prompts.files import save_prompt
from models.prompts.prompt import Prompt
from worker.store import prompts
from worker.store.jobs import records

SECRET = "DOE^JANE"
CARD = load_catalogue().get("bundled-2")
COHEN = {"procedure": "cohen"}
SIGMA = "one or more decimal numbers from 0.001 to 10, each named once"
N = "an integer from 1 to the service's limit (100000 unless its operator set another), for"
CAP = (
    "an integer of at least twice n_max, up to the service's limit (100000 unless its operator set "
    "another), for staged only"
)
CLASSES = (
    "2 to 100 class names that people can tell apart, each on one line and not blank, of at most "
    "as many characters as the service allows (200 unless its operator set another limit)"
)
TEMPLATE = "a sentence with {} exactly once, at most 1000 characters, all of them visible"
TARGETS = (
    "a JSON list of 1 to 16 different objects with prompting, prompt, bank (a list of objects with "
    "prompt or template), class_names and template (each may be left out, none named twice), "
    "instead of prompting, prompt, class_name and template"
)
ATTEMPT = "an integer from 0 to 10000"
FRAME = "an integer from 0 to the file's last frame"
RADIUS = "a decimal number greater than 0 and at most 1000, for staged only"
TOLERANCE = "a decimal number of at least 0 and less than 1, for staged only"
ALPHA = "a decimal number of at least 1e-12 and less than 0.5"
WINDOW = '"auto", or centre and width separated by a comma, like 40,400'
EITHER = "either targets, or prompting, prompt, class_name and template, not both"
FOR_ANOTHER = "a prompt for the model bundled-2; this one is for"
RETIRED = str(find_retirement("bundled")).rstrip(".")
STORED = "the id or digest of a stored prompt"

REFUSALS: list[tuple[dict[str, Any], str, str]] = [
    *(({"sigma": [text]}, "sigma", SIGMA) for text in ("0", "-0.25", "nan", "inf", "0.0009999")),
    *(({"sigma": [text]}, "sigma", SIGMA) for text in ("1e99", "0_1", "\u0661", SECRET)),
    ({"sigma": ["0.25", "0.250"]}, "sigma", SIGMA),
    ({"sigma": ["0.25", ""]}, "sigma", f"no empty value, but {SIGMA}"),
    ({"sigma": [f"0.{i:03}" for i in range(1, 18)]}, "sigma", "at most 16 noise levels"),
    ({"model": "m" * 65}, "model", "the id of a model, at most 64 characters"),
    ({"n_max": "0"}, "n_max", f"{N} staged only"),
    ({"n_max": "1_0"}, "n_max", f"{N} staged only"),
    ({"n_max": "1000000000"}, "n_max", "an integer from 1 to 100000"),
    ({"n_cap": "0"}, "n_cap", CAP),
    ({"n_max": "500", "n_cap": "999"}, "n_cap", "an integer of at least twice n_max, up to 100000"),
    ({"n_cap": "19999"}, "n_cap", "an integer of at least twice n_max, up to 100000"),
    ({"n_cap": "100001"}, "n_cap", "an integer of at least twice n_max, up to 100000"),
    ({**COHEN, "n": "1e3"}, "n", f"{N} cohen only"),
    ({**COHEN, "n": "1000000000"}, "n", "an integer from 1 to 100000"),
    ({**COHEN, "n0": "-1"}, "n0", f"{N} cohen only".replace("100000", "10000")),
    ({**COHEN, "n0": "10001"}, "n0", "an integer from 1 to 10000"),
    (
        {"n": "100"},
        "n",
        "no value: the procedure is staged, it takes n_max, n_cap, target_radius, tolerance, "
        "minimum_radius",
    ),
    ({**COHEN, "n_max": "100"}, "n_max", "no value: the procedure is cohen, it takes n, n0"),
    (
        {**COHEN, "minimum_radius": "1"},
        "minimum_radius",
        "no value: the procedure is cohen, it takes n, n0",
    ),
    ({"procedure": "guess"}, "procedure", '"staged" or "cohen"'),
    *(({"target_radius": text}, "target_radius", RADIUS) for text in ("0", "nan", "1001")),
    *(({"minimum_radius": text}, "minimum_radius", RADIUS) for text in ("0", "-1", SECRET)),
    ({"tolerance": "1"}, "tolerance", TOLERANCE),
    ({"joint": "perhaps"}, "joint", "true or false"),
    *(({"alpha": text}, "alpha", ALPHA) for text in ("0.5", "0", "-1")),
    ({"alpha": ""}, "alpha", f"no empty value, but {ALPHA}"),
    *(({"attempt": text}, "attempt", ATTEMPT) for text in ("-1", "10001", "first")),
    ({"frame": "-1"}, "frame", FRAME),
    *(({"window": text}, "window", WINDOW) for text in ("40", "wide", "\u0663,\u0664")),
    ({"class_name": ["a", "\u200b"]}, "class_name", CLASSES),
    ({"class_name": [SECRET]}, "class_name", CLASSES),
    ({"class_name": [SECRET, SECRET]}, "class_name", CLASSES),
    ({"class_name": [SECRET, " "]}, "class_name", CLASSES),
    ({"template": ""}, "template", f"no empty value, but {TEMPLATE}"),
    ({"template": f"No place for a name, {SECRET}"}, "template", TEMPLATE),
    ({"template": f"{{}} {'x' * 1000}"}, "template", TEMPLATE),
    ({"targets": "nonsense"}, "targets", TARGETS),
    ({"targets": "[]"}, "targets", TARGETS),
    ({"targets": '[{"class_names": ["one"]}]'}, "targets", TARGETS),
    ({"targets": '[{"unknown": 1}]'}, "targets", TARGETS),
    ({"targets": "[{}, {}]"}, "targets", TARGETS),
    ({"targets": '[{"template": "An {}.", "template": "A {}."}]'}, "targets", TARGETS),
    ({"targets": "[{}]", "template": "An {}."}, "targets", EITHER),
    ({"targets": "[{}]", "prompt": ["lungs"]}, "targets", EITHER),
    (
        {"targets": '[{"prompting": "zero-shot", "template": " {}"}]'},
        "targets",
        "words before {}: zero-shot tunes what stands before the class name",
    ),
    ({"targets": '[{"prompting": "few-shot"}]'}, "targets", f"{STORED}, which few-shot takes"),
    (
        {"targets": '[{"bank": [{"prompt": "lungs"}]}]'},
        "targets",
        "none: template chooses among no prompts",
    ),
    (
        {"targets": '[{"prompting": "routed", "bank": [{}, {}]}]'},
        "targets",
        "of each entry either a prompt or a template",
    ),
    (
        {"prompting": ["magic"]},
        "prompting",
        'one or more of "template", "few-shot", "zero-shot", "few-shot+zero-shot" and "routed"',
    ),
    (
        {"prompt": ["No Such Id"]},
        "prompt",
        "ids or digests of stored prompts (GET /prompts) for few-shot, few-shot+zero-shot or "
        "routed",
    ),
    ({"prompting": ["few-shot"]}, "prompt", f"{STORED}, which few-shot takes"),
    ({"prompt": ["nobody"]}, "prompt", f"{STORED}; GET /prompts lists them"),
    (
        {"prompt": ["elsewhere"]},
        "prompt",
        f"{FOR_ANOTHER} bundled-2",
    ),
    ({"prompt": ["of-bundled"]}, "prompt", f"{FOR_ANOTHER} bundled. {RETIRED}"),
    (
        {"prompt": ["bundled-mednist"]},
        "prompt",
        f"{STORED}; GET /prompts lists them. {RETIRED}. 'bundled-2-mednist' takes the place of "
        "'bundled-mednist'",
    ),
    (
        {"prompting": ["zero-shot"], "prompt": ["lungs"]},
        "prompt",
        "none: zero-shot takes no stored prompt",
    ),
    (
        {"prompting": ["routed"], "prompt": ["lungs"]},
        "prompt",
        "2 to 16 stored prompts to choose among",
    ),
    (
        {"prompting": ["zero-shot"], "template": "{} of a lung."},
        "template",
        "words before {}: zero-shot tunes what stands before the class name",
    ),
    (
        {**COHEN, "prompting": ["routed"], "prompt": ["lungs", "lungs-too"]},
        "procedure",
        "staged, by which a routed certificate is made",
    ),
]
FLAGS = {"joint"}  # which have no value at the command line that could be wrong


@pytest.fixture
def stored(redis: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same four prompts in Redis and in a folder of this machine."""
    folder = tmp_path / "prompts"
    monkeypatch.setenv("PROMPTSMOOTH_PROMPTS", str(folder))
    for seed, name in enumerate(("lungs", "lungs-too", "elsewhere", "of-bundled")):
        rng = np.random.default_rng(seed)
        prompt = Prompt(ctx=rng.normal(0, 0.02, (4, 64)).astype(np.float32))
        card = PromptCard(
            id=name,
            model="bundled" if name == "of-bundled" else "bundled-2",
            weights_sha256=CARD.weights_sha256 if name.startswith("lungs") else "0" * 64,
            method="few-shot",
            class_names=("normal lungs", "pneumonia"),
            n_ctx=4,
            width=64,
            suffix=".",
            sha256=prompt.sha256,
            created_at=datetime(2026, 1, 1, tzinfo=UTC),
        )
        prompts.put_prompt(redis, card, prompt)
        save_prompt(folder, card, prompt)


def send_json(client: TestClient, image: bytes, fields: dict[str, Any]) -> Response:
    document = {"image": [base64.b64encode(image).decode()], **fields}
    if "targets" in fields:
        with suppress(ValueError):  # then the text itself is sent, which is no list either
            document["targets"] = parse_strict(fields["targets"])
    return client.post("/certify", json=document)


def run(image: bytes, folder: Path, fields: dict[str, Any]) -> tuple[int, str]:
    """Exit status of the command line without a server, and what it says."""
    path = folder / "scan.png"
    path.write_bytes(image)
    options = [
        f"--{name.replace('_', '-')}={one}"
        for name, value in fields.items()
        for one in (value if isinstance(value, list) else [value])
    ]
    command = ["certify", str(path), "--data-dir", str(with_secret(folder / "data")), *options]
    done = CliRunner().invoke(cli, command)
    return done.exit_code, done.stderr


@pytest.mark.parametrize(("fields", "field", "expected"), REFUSALS)
def test_every_way_to_ask_refuses_a_field_in_the_same_words(
    client: TestClient,
    queued_ids: Callable[[], list[str]],
    stored: None,
    png: bytes,
    tmp_path: Path,
    fields: dict[str, Any],
    field: str,
    expected: str,
) -> None:
    sentence = f"{field}: expected {expected}."
    asked = {"sigma": ["0.25"], **fields}
    form = client.post("/certify", files={"image": ("a", png)}, data=asked)
    query = client.post(
        "/certify", params=asked, content=png, headers={"content-type": "image/png"}
    )
    for answer in (form, query, send_json(client, png, asked)):
        problem = answer.json()
        assert (answer.status_code, problem["code"]) == (422, "request_invalid")
        assert problem["detail"] == sentence
        assert problem["errors"] == [{"field": field, "detail": f"Expected {expected}."}]
        assert SECRET not in answer.text
    assert queued_ids() == []
    if not FLAGS & fields.keys():
        assert run(png, tmp_path, asked) == (2, f"promptsmooth: {sentence}\n")


def test_every_field_of_a_request_is_an_option_of_the_command_line() -> None:
    command = typer.main.get_group(cli).commands["certify"]
    assert set(CertifyFields.model_fields) <= {parameter.name for parameter in command.params}


TWO_LABEL_SETS = '[{"class_names": ["a", "b"], "template": "An {}."}, {}]'


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"sigma": ["0.50", "0.25"], "n_max": "500", "target_radius": "0.10", "joint": "true"},
        {"minimum_radius": "0.010", "tolerance": "0", "alpha": "1e-4", "attempt": "3"},
        {**COHEN, "n": "300", "n0": "20", "window": "auto", "frame": "0"},
        {"targets": TWO_LABEL_SETS},
        {"prompting": ["template", "few-shot"], "prompt": ["lungs"]},
        {"prompting": ["routed"], "prompt": ["lungs", "lungs-too"], "template": "An {}."},
    ],
)
def test_the_command_line_asks_for_what_the_form_asks_for(
    post: Callable[..., Response],
    redis: Redis,
    stored: None,
    png: bytes,
    tmp_path: Path,
    fields: dict[str, Any],
) -> None:
    """The same request, and so the same noise and the same certificate."""
    answer = post(**fields)
    assert answer.status_code == 202, answer.text
    job = records.find_job(redis, answer.json()["id"])
    assert job is not None
    parsed = parse_fields({"sigma": ["0.25"], **fields})
    request, _ = prepare_request(png, CARD, parsed, find_prompts(tmp_path))
    assert request == job.request
    assert json.dumps(request.identity()) == json.dumps(job.request.identity())
