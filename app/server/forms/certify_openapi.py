"""How OpenAPI describes the bodies of POST /certify, which FastAPI cannot guess.

Each has an address of its own, because makers of clients take one type of body an address.
"""

from copy import deepcopy
from typing import Any

from pydantic import TypeAdapter

from app.request.certify import CertifyFields
from app.request.targets import TargetField
from app.server.forms.certify import NUMBERS, REPEATABLE, CertifyForm
from app.server.forms.certify_body import IMAGE_TYPES

_REF = "#/components/schemas/{model}"
_EXAMPLE_PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAAAAADhZOFXAAAAF0lEQVR4nGNkYIEARgUog4UUBuMDKAMAR1gCmJsl"
    "iJIAAAAASUVORK5CYII="
)


def create_schemas() -> dict[str, Any]:
    """The schemas of the form and of the JSON document, and what they refer to, by name."""
    form = CertifyForm.model_json_schema(ref_template=_REF)
    form["properties"] = {"image": form["properties"].pop("image"), **form["properties"]}
    fields = CertifyFields.model_json_schema(ref_template=_REF)
    targets = TypeAdapter(list[TargetField]).json_schema(ref_template=_REF)
    defs = {**form.pop("$defs", {}), **fields.pop("$defs", {}), **targets.pop("$defs")}
    return {"CertifyForm": form, "CertifyDocument": _document(fields, targets), **defs}


def _document(fields: dict[str, Any], targets: dict[str, Any]) -> dict[str, Any]:
    """The fields as a JSON document has them: numbers may be numbers, targets are no text."""
    found: dict[str, Any] = {
        "image": {
            "type": "array",
            "minItems": 1,
            "items": {"type": "string", "contentEncoding": "base64", "minLength": 4},
            "description": "one or more image files in base64 (RFC 4648, with padding). The "
            "content decides what they are. Several images become a batch.",
        }
    }
    for name, described in fields["properties"].items():
        found[name] = with_numbers(name, deepcopy(described))
    found["targets"] = {**targets, "description": fields["properties"]["targets"]["description"]}
    return {
        "type": "object",
        "title": "CertifyDocument",
        "description": "What is asked of a certification, as JSON. Names and limits are those of "
        "the form; a number may also be written as text, and keeps its digits either way.",
        "properties": found,
        "required": ["image", *fields["required"]],
        "additionalProperties": False,
    }


def with_numbers(name: str, described: dict[str, Any]) -> dict[str, Any]:
    if name not in NUMBERS or described.get("type") == "integer":
        return described
    if name in REPEATABLE:
        return {**described, "items": _number_or_text(described["items"])}
    if "anyOf" not in described:
        return _number_or_text(described)
    if all(one["type"] != "string" for one in described["anyOf"]):
        return described
    return {**described, "anyOf": [{"type": "number"}, *described["anyOf"]]}


def _number_or_text(described: dict[str, Any]) -> dict[str, Any]:
    rule = {name: described.pop(name) for name in ("type", "pattern") if name in described}
    return {**described, "anyOf": [{"type": "number"}, rule]}


def _parameters() -> list[dict[str, Any]]:
    """The fields as parameters of the address, for a body that is the image itself."""
    schema = CertifyFields.model_json_schema(ref_template=_REF)
    return [
        {
            "name": name,
            "in": "query",
            "required": name in schema["required"],
            "description": described.pop("description"),
            "schema": {k: v for k, v in described.items() if k != "default"},
        }
        for name, described in schema["properties"].items()
    ]


_TWO_LEVELS = {"sigma": ["0.25", "0.5"], "n_max": 2000}
AS_FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {"$ref": _REF.format(model="CertifyForm")},
                "encoding": {"image": {"contentType": ", ".join(IMAGE_TYPES)}},
                "example": dict(_TWO_LEVELS),
            }
        },
    },
}
AS_JSON: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"$ref": _REF.format(model="CertifyDocument")},
                "examples": {
                    "two noise levels": {"value": {"image": [_EXAMPLE_PNG], **_TWO_LEVELS}},
                    "several label sets": {
                        "value": {
                            "image": [_EXAMPLE_PNG],
                            "sigma": ["0.25"],
                            "targets": [
                                {"class_names": ["normal lungs", "pneumonia"]},
                                {"prompting": "few-shot", "prompt": "bundled-2-kermany-cxr"},
                            ],
                        }
                    },
                },
            }
        },
    },
}
AS_FILE: dict[str, Any] = {
    "parameters": _parameters(),
    "requestBody": {
        "required": True,
        "description": f"One image file, also as {', '.join(IMAGE_TYPES[:-1])}.",
        "content": {IMAGE_TYPES[-1]: {"schema": {"type": "string", "format": "binary"}}},
    },
}
