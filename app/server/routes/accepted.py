"""How OpenAPI describes a 202 answer: where the job is, and which operations apply to it."""

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
    """The response for an accepted job.

    Args:
        description: one sentence.
        parameter: the path parameter that takes the job's id.
        operations: what applies to the job: link names, each with its operation id.
    """
    links = {
        name: {"operationId": operation, "parameters": {parameter: "$response.body#/id"}}
        for name, operation in operations.items()
    }
    return {"description": description, "headers": _HEADERS, "links": links}
