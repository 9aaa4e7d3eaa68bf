"""What breaks programs is found, and what only adds is not."""

import copy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

from breaking_changes import find_breaking

Change = Callable[[dict[str, Any]], object]


def create_document() -> dict[str, Any]:
    """One address with a parameter, a body and an answer that is one of two."""
    ended = {
        "type": "object",
        "required": ["status", "radius"],
        "properties": {
            "status": {"const": "ended"},
            "radius": {"type": "number"},
            "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            "next": {"$ref": "#/components/schemas/Ended"},
        },
    }
    queued = {
        "type": "object",
        "required": ["status"],
        "properties": {"status": {"const": "queued"}},
    }
    form = {
        "type": "object",
        "required": ["image"],
        "properties": {
            "image": {"type": "string"},
            "how": {"type": "string", "enum": ["fast", "slow"]},
        },
    }
    answer = {"oneOf": [{"$ref": "#/components/schemas/Ended"}, queued]}
    operation = {
        "parameters": [{"name": "wait", "in": "query", "schema": {"type": "integer"}}],
        "requestBody": {"required": True, "content": {"application/json": {"schema": form}}},
        "responses": {"200": {"content": {"application/json": {"schema": answer}}}},
    }
    return {"paths": {"/jobs": {"post": operation}}, "components": {"schemas": {"Ended": ended}}}


def get_operation(document: dict[str, Any]) -> dict[str, Any]:
    return document["paths"]["/jobs"]["post"]


def get_form(document: dict[str, Any]) -> dict[str, Any]:
    return get_operation(document)["requestBody"]["content"]["application/json"]["schema"]


def get_ended(document: dict[str, Any]) -> dict[str, Any]:
    return document["components"]["schemas"]["Ended"]


def list_variants(document: dict[str, Any]) -> list[Any]:
    return get_operation(document)["responses"]["200"]["content"]["application/json"]["schema"][
        "oneOf"
    ]


BREAKING: list[tuple[Change, str]] = [
    (lambda d: d["paths"].clear(), "POST /jobs: gone"),
    (lambda d: get_operation(d)["parameters"].clear(), "POST /jobs: query parameter wait gone"),
    (
        lambda d: get_operation(d)["parameters"].append(
            {"name": "x", "in": "header", "required": True, "schema": {}}
        ),
        "POST /jobs: header parameter x is now required",
    ),
    (
        lambda d: get_operation(d)["parameters"][0]["schema"].update(type="boolean"),
        "POST /jobs: parameter wait: number is now boolean",
    ),
    (
        lambda d: get_operation(d)["requestBody"]["content"].clear(),
        "POST /jobs body: application/json gone",
    ),
    (lambda d: get_form(d)["properties"].pop("how"), "POST /jobs body: how gone"),
    (lambda d: get_form(d)["required"].append("how"), "POST /jobs body: how is now required"),
    (
        lambda d: get_form(d)["properties"]["how"]["enum"].remove("slow"),
        "POST /jobs body: how: the values slow gone",
    ),
    (lambda d: get_operation(d)["responses"].clear(), "POST /jobs: status 200 gone"),
    (lambda d: get_ended(d)["properties"].pop("radius"), "POST /jobs 200: radius gone"),
    (
        lambda d: get_ended(d)["required"].remove("radius"),
        "POST /jobs 200: radius is no longer always there",
    ),
    (
        lambda d: get_ended(d)["properties"].update(note={"type": "array"}),
        "POST /jobs 200: note: string is now array",
    ),
    (lambda d: list_variants(d).pop(), "POST /jobs 200: the variant status=queued gone"),
]
ADDITIONS: list[Change] = [
    lambda _: None,
    lambda d: d["paths"].update({"/more": {"get": {"responses": {}}}}),
    lambda d: get_operation(d)["parameters"].append({"name": "x", "in": "query", "schema": {}}),
    lambda d: get_form(d)["properties"].update(more={"type": "string"}),
    lambda d: get_form(d)["properties"]["how"]["enum"].append("slower"),
    lambda d: get_ended(d)["properties"].update(more={"type": "string"}),
    lambda d: get_ended(d)["required"].append("note"),
    lambda d: get_operation(d)["responses"].update({"429": {}}),
    lambda d: list_variants(d).append({"properties": {"status": {"const": "lost"}}}),
]


@pytest.mark.parametrize(("change", "said"), BREAKING, ids=[said for _, said in BREAKING])
def test_what_breaks_programs_is_found(change: Change, said: str) -> None:
    old, new = create_document(), create_document()
    change(new)
    assert said in find_breaking(old, new)


@pytest.mark.parametrize("change", ADDITIONS)
def test_additions_break_nothing(change: Change) -> None:
    old = create_document()
    new = copy.deepcopy(old)
    change(new)
    assert find_breaking(old, new) == []


def test_a_schema_of_another_name_is_the_same_schema() -> None:
    old, new = create_document(), create_document()
    schemas = new["components"]["schemas"]
    schemas["Finished"] = schemas.pop("Ended")
    renamed = {"$ref": "#/components/schemas/Finished"}
    schemas["Finished"]["properties"]["next"] = renamed
    list_variants(new)[0] = renamed
    assert find_breaking(old, new) == []
