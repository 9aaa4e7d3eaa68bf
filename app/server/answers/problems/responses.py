"""How a problem is answered, and how OpenAPI describes that."""

from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from app.server.answers.problems.certifications import (
    BatchUnknown,
    CertificationUnknown,
    RecordDamaged,
)
from app.server.answers.problems.images import ImageRefused, image_status
from app.server.answers.problems.problem import MEDIA_TYPE, Problem
from app.server.answers.problems.service import InternalError
from models.imaging.pixels.errors import list_errors as list_image_errors


def list_codes() -> Iterator[tuple[str, int]]:
    """Every code that an answer can have, with its status."""
    for problem in Problem.__subclasses__():
        if problem is not ImageRefused:
            yield problem.code, problem.status
    yield from ((error.code, image_status(error.code)) for error in list_image_errors())


def describe(*problems: type[Problem]) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's `responses` for an endpoint that can answer with these problems."""
    responses: dict[int | str, dict[str, Any]] = {}
    found = (CertificationUnknown, BatchUnknown)  # a stored record can be damaged
    damaged = (RecordDamaged,) if any(one in problems for one in found) else ()
    for problem in (*problems, *damaged, InternalError):
        for status in _statuses(problem):
            entry = responses.setdefault(status, _described(status))
            entry["content"][MEDIA_TYPE]["examples"].update(_examples(problem, status))
    return responses


def _statuses(problem: type[Problem]) -> tuple[int, ...]:
    return (413, 415, 422) if problem is ImageRefused else (problem.status,)


def _described(status: int) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/ProblemDocument"}
    content: dict[str, Any] = {MEDIA_TYPE: {"schema": schema, "examples": {}}}
    return {"description": HTTPStatus(status).phrase, "content": content}


def _examples(problem: type[Problem], status: int) -> dict[str, Any]:
    if problem is not ImageRefused:
        return {
            problem.code: {
                "value": problem().document("0" * 32).model_dump(mode="json", exclude_unset=True)
            }
        }
    found = [e for e in list_image_errors() if image_status(e.code) == status]
    return {error.code: {"summary": error.summary} for error in found}


def create_response(request: Request, problem: Problem) -> Response:
    """The HTTP response for a problem."""
    document = problem.document(request.scope["state"]["request_id"])
    request.scope["state"]["problem"] = problem.code  # for the audit log
    return JSONResponse(
        document.model_dump(mode="json", exclude_unset=True),
        status_code=problem.status,
        headers=problem.headers,
        media_type=MEDIA_TYPE,
    )
