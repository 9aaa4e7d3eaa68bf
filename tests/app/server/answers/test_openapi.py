"""OpenAPI shows answers that the service gave, says where a job is found, and keeps its schemas."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
from starlette.testclient import TestClient

from app.main import create_app


@pytest.fixture
def document(client: TestClient) -> dict[str, Any]:
    return client.get("/openapi.json").json()


def list_responses(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every successful response with JSON, named by method, path and status."""
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            for status, response in operation["responses"].items():
                if status < "3" and "application/json" in response.get("content", {}):
                    name = f"{method.upper()} {path} {status}"
                    yield name, response["content"]["application/json"]


def test_every_answer_in_json_has_an_example_that_keeps_its_schema(document):
    for name, content in list_responses(document):
        assert content.get("examples"), f"{name}: run examples/record_answers.py"
        schema = {**content["schema"], "components": document["components"]}
        validator = jsonschema_rs.validator_for(schema)
        for example in content["examples"].values():
            faults = [
                f"{list(e.instance_path)}: {e.message}"
                for e in validator.iter_errors(example["value"])
            ]
            assert not faults, f"{name}: {faults}"


def test_examples_hold_no_path_of_a_machine(document):
    text = json.dumps([content for _, content in list_responses(document)])
    assert "/home" not in text
    assert "/tmp" not in text


def test_links_lead_to_operations_with_that_parameter(document):
    operations = {
        operation["operationId"]: (path, operation)
        for path, methods in document["paths"].items()
        for operation in methods.values()
    }
    links = [
        link
        for _, operation in operations.values()
        for response in operation["responses"].values()
        for link in response.get("links", {}).values()
    ]
    # each form of POST /certify, learning, continuing, evaluating
    assert len(links) == 3 * 3 + 2 + 2 + 2
    for link in links:
        path, _ = operations[link["operationId"]]
        assert all(f"{{{name}}}" in path for name in link["parameters"])


def test_operations_are_named_by_one_word_for_clients_made_from_them(document):
    names = [
        operation["operationId"]
        for methods in document["paths"].values()
        for operation in methods.values()
    ]
    assert len(set(names)) == len(names)
    assert {"certify", "get_certification", "learn"} <= set(names)


def test_forms_and_addresses_have_no_null(document):
    """A null stands for "left out" there, and makers of clients send it as a word."""
    asked = [
        parameter["schema"]
        for methods in document["paths"].values()
        for operation in methods.values()
        for parameter in operation.get("parameters", ())
    ]
    forms = [schema for name, schema in document["components"]["schemas"].items() if "Form" in name]
    assert len(forms) == 5
    asked += [field for form in forms for field in form["properties"].values()]
    assert '"null"' not in json.dumps(asked)


def test_members_of_a_union_are_told_apart_by_a_required_constant(document):
    schemas = document["components"]["schemas"]
    for union in ("Certification", "CertificateDocument", "ListedOutcome"):
        for member in schemas[union]["oneOf"]:
            schema = schemas[member["$ref"].rpartition("/")[2]]
            constants = {name for name, one in schema["properties"].items() if "const" in one}
            assert constants
            assert constants <= set(schema["required"])


def test_what_is_optional_in_a_certificate_is_never_described_as_null(document):
    """It is left out where it is not there; older certificates too lack it."""
    schema = document["components"]["schemas"]["CertifiedByStaged"]
    optional = schema["properties"].keys() - set(schema["required"])
    assert {"prompt", "template", "adaptation", "routing", "started_from"} <= optional
    assert all("anyOf" not in schema["properties"][name] for name in optional)


def test_operations_are_summarised_by_a_sentence_and_tags_are_described(document):
    tags = {tag["name"] for tag in document["tags"] if tag["description"]}
    for methods in document["paths"].values():
        for operation in methods.values():
            assert operation["summary"].endswith(".")
            assert set(operation["tags"]) <= tags
    assert document["info"]["license"]["identifier"] == "Apache-2.0"
    assert document["info"]["contact"]["name"]


def test_the_document_is_written_once_however_many_ask_for_it() -> None:
    app = create_app()

    async def ask() -> list[bytes]:
        return await asyncio.gather(*(app.write_openapi() for _ in range(5)))

    first, *others = asyncio.run(ask()) + asyncio.run(ask())
    assert all(other is first for other in others)
    assert json.loads(first) == app.openapi()


def test_other_requests_have_their_turns_while_the_document_is_written() -> None:
    """It takes half a second, and anybody may ask for it."""

    async def count_turns() -> int:
        writing, turns = asyncio.create_task(create_app().write_openapi()), 0
        while not writing.done():
            await asyncio.sleep(0.001)
            turns += 1
        return turns

    assert asyncio.run(count_turns()) > 5
