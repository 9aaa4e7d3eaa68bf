"""The OpenAPI document, corrected where FastAPI's own says too little or too much."""

import json
from pathlib import Path
from typing import Any, cast

from anyio import Lock, to_thread
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from app.server.access.routes import list_methods
from app.server.answers import problems
from app.server.answers.schemas import ProblemDocument
from app.server.forms.certify_openapi import create_schemas
from app.server.plain_openapi import make_plain

_ANSWERS = Path(__file__).with_name("answers.json")
_ALSO = {"/certify": ("/certify/json", "/certify/file")}  # the same request in another form
TAGS = [
    {"name": "certify", "description": "Send images and ask for certificates."},
    {
        "name": "certifications",
        "description": "Follow, read, list, cancel and purge what was sent.",
    },
    {"name": "evaluations", "description": "Certify the datasets that lie with the service."},
    {"name": "audit", "description": "Check certificates without trusting who made them."},
    {"name": "models", "description": "Models that this service has, and where they are ready."},
    {"name": "prompts", "description": "Learn prompts, bring, read and remove them."},
    {"name": "health", "description": "Whether the service runs, and its figures."},
]


class Service(FastAPI):
    """FastAPI with our problem document in OpenAPI instead of its own validation errors."""

    def __init__(self, **told: Any) -> None:
        super().__init__(**told)
        self._writing, self._written = Lock(), b""

    async def write_openapi(self) -> bytes:
        """The document as JSON. It is written once, in a thread: it takes half a second."""
        async with self._writing:
            self._written = self._written or await to_thread.run_sync(self._write)
        return self._written

    def _write(self) -> bytes:
        return bytes(JSONResponse(self.openapi()).body)

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            document = super().openapi()
            document["components"]["schemas"].update(create_schemas())
            _describe_problems(document)
            _show_answers(document)
            self.openapi_schema = make_plain(document)
        return super().openapi()


def _show_answers(document: dict[str, Any]) -> None:
    """Adds recorded answers of the service as examples; see `examples/record_answers.py`."""
    for asked, answers in json.loads(_ANSWERS.read_text(encoding="utf-8")).items():
        method, path, status = asked.split()
        examples = {name: {"value": answer} for name, answer in answers.items()}
        for each in (path, *_ALSO.get(path, ())):
            response = document["paths"][each][method.lower()]["responses"][status]
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
                _add_responses(operation, problems.describe(problems.AuditLogUnavailable))
            _add_responses(
                operation,
                problems.describe(
                    problems.KeyMissing,
                    problems.KeyInvalid,
                    problems.TokenInvalid,
                    problems.ScopeMissing,
                    problems.KeysRequired,
                    problems.RateLimited,
                    problems.SignOnUnavailable,
                ),
            )
        if "application/json" in operation["responses"].get("422", {}).get("content", {}):
            del operation["responses"]["422"]  # FastAPI's default: no id here ever answers 422
        if "security" in operation:
            refusals = problems.describe(problems.FieldUnknown, problems.FieldRepeated)
            _add_responses(operation, refusals)
        if "requestBody" in operation:
            _add_responses(operation, problems.describe(problems.BodyTooSlow))
        _add_responses(operation, problems.describe(problems.HostUnknown, problems.TooBusy))


def _add_responses(operation: dict[str, Any], responses: dict[int | str, dict[str, Any]]) -> None:
    for status, response in responses.items():
        there = operation["responses"].setdefault(str(status), response)
        for media_type, content in response["content"].items():
            if media_type in there.get("content", {}):
                there["content"][media_type]["examples"].update(content["examples"])


async def on_wrong_method(request: Request, error: Exception) -> Response:
    """Answers 405 with all methods of an address; the router names only its first route's."""
    methods = list_methods(request.app.state.access, request.url.path)
    given = cast(HTTPException, error).headers
    headers = {"Allow": ", ".join(methods)} if methods else given
    return problems.create_response(request, problems.MethodNotAllowed(headers=headers))
