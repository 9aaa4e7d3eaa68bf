"""The JSON body of POST /evaluations."""

import hashlib
import json
from copy import deepcopy
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import Field

from app.request.certify import RULES as CERTIFY_RULES
from app.request.certify import CertifyFields
from app.request.numbers import PLAIN_DECIMAL, PLAIN_WHOLE
from app.request.refusal import check_not_empty
from app.server.answers.problems import JsonUnreadable
from app.server.forms.certify_body import read_member, validate
from app.server.forms.certify_openapi import with_numbers
from app.server.forms.items import require_known
from models.files.bounded_json import JsonBounds, check_bounds
from models.files.untrusted_text import parse_strict
from worker.contract import Contract
from worker.evaluation.results import PUBLISHED_RADII

MAX_BYTES = 65_536
_BOUNDS = JsonBounds()
_OF_IMAGES = (
    "sigma",
    "model",
    "prompting",
    "prompt",
    "template",
    "procedure",
    "n_max",
    "target_radius",
    "tolerance",
    "minimum_radius",
    "n",
    "n0",
    "alpha",
)
"""The fields of a certification that an evaluation takes: the dataset says the class names."""
_OWN = {
    "dataset": "the name of a dataset that GET /datasets lists",
    "split": '"test" or "train", a part that the dataset has',
    "images": "an integer from 1 to the service's limit (10000 unless its operator set another)",
    "seed": "an integer from 0 to 2147483647",
    "radius": "a list of at most 64 decimal numbers from 0 to 1000",
}
RULES = {**_OWN, **{name: CERTIFY_RULES[name] for name in _OF_IMAGES}}
_SIGMAS = ["0.1", "0.25", "0.5", "1.0"]


class EvaluationFields(Contract):
    """What an evaluation is asked, apart from the question about each image."""

    dataset: str = Field(min_length=1, max_length=64, description=f"{_OWN['dataset']}.")
    split: Literal["train", "test"] = Field(
        default="test", description=f"{_OWN['split']}. Default: test."
    )
    images: Annotated[int, PLAIN_WHOLE] = Field(
        default=500,
        ge=1,
        description=f"{_OWN['images']}. Taken from the classes in turn, in an order that the seed "
        "fixes. Default: 500.",
    )
    seed: Annotated[int, PLAIN_WHOLE] = Field(
        default=3, ge=0, le=2**31 - 1, description=f"{_OWN['seed']}. Default: 3."
    )
    radius: list[Annotated[Decimal, PLAIN_DECIMAL, Field(ge=0, le=1000)]] = Field(
        default=list(PUBLISHED_RADII),
        min_length=1,
        max_length=64,
        description=f"{_OWN['radius']}. Columns of the table. Default: the paper's, 0 to 2.5.",
    )


@dataclass(frozen=True, kw_only=True)
class AskedEvaluation:
    """A body of POST /evaluations, checked field by field.

    Attributes:
        own: the dataset, and how it is judged.
        certify: the question about each image, apart from its class names.
        fingerprint: names the request by what it asks.
    """

    own: EvaluationFields
    certify: CertifyFields
    fingerprint: str


def parse_evaluation(body: bytes) -> AskedEvaluation:
    """Parses a body.

    Raises:
        Problem: it is no JSON object, or has another field.
        FieldInvalid: a value is empty.
        fastapi.exceptions.RequestValidationError: a value breaks its rule.
    """
    try:
        check_bounds(body, _BOUNDS)
        document = parse_strict(body, as_written=True)
    except ValueError:
        raise JsonUnreadable from None
    if not isinstance(document, dict):
        raise JsonUnreadable
    require_known(document, RULES)
    check_not_empty(document.items(), RULES)
    given: dict[str, Any] = {name: value for name, value in document.items() if value is not None}
    own = {name: value for name, value in given.items() if name in _OWN}
    certify = {k: read_member(k, v) for k, v in given.items() if k in _OF_IMAGES}
    text = json.dumps(given, sort_keys=True)
    return AskedEvaluation(
        own=validate(EvaluationFields, own),
        certify=validate(CertifyFields, {"sigma": _SIGMAS, **certify}),
        fingerprint=hashlib.sha256(text.encode()).hexdigest(),
    )


def _describe_body() -> dict[str, Any]:
    """The schema of the body: the fields of a certification that it takes, and its own."""
    fields = CertifyFields.model_json_schema()["properties"]
    own = EvaluationFields.model_json_schema()["properties"]
    numbers = {"type": "array", "items": {"type": "number", "minimum": 0, "maximum": 1000}}
    own["radius"] = {**numbers, "maxItems": 64, "description": own["radius"]["description"]}
    taken = {name: with_numbers(name, deepcopy(fields[name])) for name in _OF_IMAGES}
    sigma = taken["sigma"]["description"]
    taken["sigma"]["description"] = f"{sigma} Default: 0.1, 0.25, 0.5 and 1."
    return {
        "type": "object",
        "title": "EvaluationDocument",
        "properties": {**own, **taken},
        "required": ["dataset"],
        "additionalProperties": False,
    }


BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": _describe_body(),
                "example": {"dataset": "chest", "images": 100, "sigma": ["0.25"], "n_max": 1000},
            }
        },
    }
}
