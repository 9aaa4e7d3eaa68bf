"""How OpenAPI describes an answer 202: where the job will be, and what can be asked of it."""

from collections.abc import Mapping
from typing import Any

_HEADERS = {
    "Location": {
        "description": "Path of the job",
        "schema": {"type": "string", "format": "uri-reference"},
    },
    "Retry-After": {
        "description": "Seconds after which to look first",
        "schema": {"type": "integer", "minimum": 1},
    },
}


def describe_accepted(
    description: str, *, parameter: str, operations: Mapping[str, str]
) -> dict[str, Any]:
    """The response of a job that was accepted.

    Args:
        description: one sentence.
        parameter: the path parameter that takes the job's id.
        operations: what can be asked of it: a link's name and the id of its operation.
    """
    links = {
        name: {"operationId": operation, "parameters": {parameter: "$response.body#/id"}}
        for name, operation in operations.items()
    }
    return {"description": description, "headers": _HEADERS, "links": links}
