"""The description of the interface, where FastAPI's own says too little or too much."""

import json
import re
from pathlib import Path
from typing import Any, cast

from fastapi import FastAPI
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from app.server.answers.problems import (
    AuditLogUnavailable,
    BodyTooSlow,
    HostUnknown,
    KeyInvalid,
    KeyMissing,
    KeysRequired,
    MethodNotAllowed,
    RateLimited,
    ScopeMissing,
    TooBusy,
    create_response,
    describe,
)
from app.server.answers.schemas import ProblemDocument
from app.server.forms.certify_openapi import create_schemas
from models.prompts import cards
from worker.contract.certificate import document as certificate

_ANSWERS = Path(__file__).with_name("answers.json")
# Two classes have one name, so FastAPI names them by their modules. Those may move; names stay.
_PUBLISHED_NAMES: dict[type[BaseModel], str] = {
    cards.Adaptation: "models__prompt_cards__Adaptation",
    certificate.Adaptation: "worker__document__Adaptation",
}


class Service(FastAPI):
    """FastAPI, whose OpenAPI names the problem document and not FastAPI's own errors."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            document = super().openapi()
            document["components"]["schemas"].update(create_schemas())
            _describe_problems(document)
            _show_answers(document)
            self.openapi_schema = _keep_published_names(document)
        return super().openapi()


def _keep_published_names(document: dict[str, Any]) -> dict[str, Any]:
    text = json.dumps(document)
    for schema, published in _PUBLISHED_NAMES.items():
        by_module = f"{schema.__module__}.{schema.__qualname__}".replace(".", "__")
        text = text.replace(f'"{by_module}"', f'"{published}"')
        text = text.replace(f'/{by_module}"', f'/{published}"')
    return cast(dict[str, Any], json.loads(text))


def _show_answers(document: dict[str, Any]) -> None:
    """Answers that the service gave, as examples; `examples/record_answers.py` recorded them."""
    for asked, answers in json.loads(_ANSWERS.read_text(encoding="utf-8")).items():
        method, path, status = asked.split()
        response = document["paths"][path][method.lower()]["responses"][status]
        examples = {name: {"value": answer} for name, answer in answers.items()}
        response["content"]["application/json"]["examples"] = examples


def _describe_problems(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    problem = ProblemDocument.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(problem.pop("$defs"), ProblemDocument=problem)
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for method, operation in (item for path in document["paths"].values() for item in path.items()):
        if "security" in operation:
            if method != "get":
                _add_responses(operation, describe(AuditLogUnavailable))
            _add_responses(
                operation, describe(KeyMissing, KeyInvalid, ScopeMissing, KeysRequired, RateLimited)
            )
        if "requestBody" in operation:
            _add_responses(operation, describe(BodyTooSlow))
        _add_responses(operation, describe(HostUnknown, TooBusy))
        if "application/json" in operation["responses"].get("422", {}).get("content", {}):
            del operation["responses"]["422"]  # FastAPI's guess: no id here is ever unprocessable


def _add_responses(operation: dict[str, Any], responses: dict[int | str, dict[str, Any]]) -> None:
    for status, response in responses.items():
        there = operation["responses"].setdefault(str(status), response)
        for media_type, content in response["content"].items():
            if media_type in there.get("content", {}):
                there["content"][media_type]["examples"].update(content["examples"])


def find_methods(document: dict[str, Any], path: str) -> list[str]:
    """The methods that an address answers: those of the path with the fewest parameters."""
    fitting = [
        template
        for template in document["paths"]
        if re.fullmatch(re.sub(r"\\{[^}]*\\}", "[^/]+", re.escape(template)), path)
    ]
    if not fitting:
        return []
    most_exact = min(fitting, key=lambda template: template.count("{"))
    return sorted(method.upper() for method in document["paths"][most_exact])


async def on_wrong_method(request: Request, error: Exception) -> Response:
    """405 with all methods of an address; the router names those of its first route alone."""
    methods = find_methods(request.app.openapi(), request.url.path)
    given = cast(HTTPException, error).headers
    headers = {"Allow": ", ".join(methods)} if methods else given
    return create_response(request, MethodNotAllowed(headers=headers))
