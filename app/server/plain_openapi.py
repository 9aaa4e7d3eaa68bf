"""The OpenAPI document in the part of its language that makers of clients understand.

FastAPI describes exactly what it does. openapi-generator, openapi-python-client and Swagger UI each
stumble over some of that: a null that only stands for "left out", a key word of OpenAPI 3.2, a
union without a name, an example beside its alternative. `make test-clients` holds them to it.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, cast

_NULL = {"type": "null"}
_SCHEMAS = "#/components/schemas/"
_UNIONS = {  # by their first member
    f"{_SCHEMAS}QueuedCertification": "Certification",
    f"{_SCHEMAS}CertifiedByStaged": "CertificateDocument",
    f"{_SCHEMAS}ListedRadius": "ListedOutcome",
    f"{_SCHEMAS}Certification": "CertificationOrBatch",
}
_FORM = "multipart/form-data"
_BOUNDS = {"ge": "minimum", "le": "maximum", "gt": "exclusiveMinimum", "lt": "exclusiveMaximum"}


def make_plain(document: dict[str, Any]) -> dict[str, Any]:
    """The document with the same meaning, in plainer words."""
    for operation in _list_operations(document):
        _say_in_a_sentence(operation)
        _ask_without_null(operation)
        _say_how_events_come(operation)
    for content, schema in _list_forms(document):
        _plain_form(content, schema)
    for schema in document["components"]["schemas"].values():
        _require_constants(schema)
    for field in document["components"]["schemas"]["ProblemDocument"]["properties"].values():
        _drop_null(field)  # a member that says nothing is left out
    return _name_unions(_spell_bounds(document))


def _spell_bounds(value: Any) -> Any:
    """Bounds in JSON Schema's words; pydantic keeps Python's on what may be left out."""
    if isinstance(value, list):
        return [_spell_bounds(one) for one in value]
    if not isinstance(value, dict):
        return value
    is_number = value.get("type") in ("integer", "number")
    named = {_BOUNDS.get(key, key) if is_number else key: one for key, one in value.items()}
    if value.get("type") == "string":
        named = {key: one for key, one in named.items() if key not in _BOUNDS}
    return {key: _spell_bounds(one) for key, one in named.items()}


def _list_operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for path in document["paths"].values():
        yield from path.values()


def _say_in_a_sentence(operation: dict[str, Any]) -> None:
    """Summarises by the first sentence of the description; FastAPI repeats the name."""
    first, *rest = re.split(r"(?<=\.)\s+", operation.pop("description"), maxsplit=1)
    operation["summary"] = " ".join(first.split())
    if rest:
        operation["description"] = rest[0]


def _ask_without_null(operation: dict[str, Any]) -> None:
    """A header or a query has no null: it is there or is left out."""
    for parameter in operation.get("parameters", ()):
        schema = parameter["schema"]
        _drop_null(schema)
        if (examples := schema.pop("examples", None)) and parameter.get("required"):
            parameter["example"] = examples[0]


def _drop_null(schema: dict[str, Any]) -> None:
    if _NULL in (variants := schema.get("anyOf", [])):
        left = [one for one in variants if one != _NULL]
        del schema["anyOf"]
        schema.update(left[0] if len(left) == 1 else {"anyOf": left})
    if schema.get("default", ...) is None:
        del schema["default"]


def _say_how_events_come(operation: dict[str, Any]) -> None:
    """`itemSchema` is OpenAPI 3.2; a stream of events is a text."""
    for response in operation["responses"].values():
        events = response.get("content", {}).get("text/event-stream", {})
        if events.pop("itemSchema", None):
            events["schema"] = {"type": "string"}


def _list_forms(document: dict[str, Any]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """The multipart forms, each as a request's content and as its schema."""
    for operation in _list_operations(document):
        content = operation.get("requestBody", {}).get("content", {}).get(_FORM)
        if content:
            name = content["schema"]["$ref"].rpartition("/")[2]
            yield content, document["components"]["schemas"][name]


def _plain_form(content: dict[str, Any], schema: dict[str, Any]) -> None:
    """A form that can be sent as it is filled in: only what is required has an example.

    Each value of a list is a part of its own.
    """
    encoding = content.setdefault("encoding", {})
    for name, field in schema["properties"].items():
        _drop_null(field)
        if name not in schema["required"]:
            field.pop("examples", None)
        if field.get("default") == []:
            del field["default"]
        if field.get("type") == "array":
            encoding.setdefault(name, {"style": "form", "explode": True})


def _require_constants(schema: dict[str, Any]) -> None:
    """A constant with a default is always sent. True and false are said in words: no enumeration.

    Without `required`, openapi-generator does not tell the members of a union apart.
    """
    constants = {k: v for k, v in schema.get("properties", {}).items() if "const" in v}
    if always := {name for name, one in constants.items() if "default" in one}:
        schema["required"] = sorted({*schema.get("required", ()), *always})
    for one in constants.values():
        if isinstance(one["const"], bool):
            said = f"Always {json.dumps(one.pop('const'))}."
            one["description"] = " ".join(filter(None, (one.get("description"), said)))


def _name_unions(document: dict[str, Any]) -> dict[str, Any]:
    """Gives each union that answers are of a name; FastAPI writes it out wherever it is used."""
    found: dict[str, dict[str, Any]] = {}
    named = cast(dict[str, Any], _refer_to_unions(document, found))
    named["components"]["schemas"].update(found)
    return named


def _refer_to_unions(value: Any, found: dict[str, dict[str, Any]]) -> Any:
    if isinstance(value, list):
        return [_refer_to_unions(one, found) for one in value]
    if not isinstance(value, dict):
        return value
    named = {key: _refer_to_unions(one, found) for key, one in value.items()}
    members = named.get("oneOf") or named.get("anyOf") or [{}]
    if (name := _UNIONS.get(members[0].get("$ref", ""))) is None:
        return named
    found[name] = {**named, "title": name}
    return {"$ref": f"{_SCHEMAS}{name}"}
