"""The interface breaks nothing of the last release's but what is said with its reason."""

import json
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[2]
RELEASED = Path(__file__).parent / "released"
sys.path.insert(0, str(REPOSITORY / "tools"))

from breaking_changes import find_breaking  # noqa: E402

SAID = tomllib.loads((RELEASED / "broken.toml").read_text())
BROKEN: list[dict[str, str]] = SAID.get("broken", [])


@pytest.fixture(scope="module")
def current() -> dict[str, Any]:
    return json.loads((REPOSITORY / "docs" / "openapi.json").read_text())


@pytest.fixture(scope="module")
def found(current: dict[str, Any]) -> list[str]:
    released = json.loads((RELEASED / f"openapi-{SAID['release']}.json").read_text())
    return find_breaking(released, current)


def test_what_breaks_is_named_with_its_reason(found: list[str]) -> None:
    unnamed = [line for line in found if not any(re.fullmatch(one["what"], line) for one in BROKEN)]
    assert unnamed == [], (
        "keep the old as docs/interface-changes.md says, or name it in broken.toml"
    )


def test_what_is_named_is_broken(found: list[str]) -> None:
    for one in BROKEN:
        assert any(re.fullmatch(one["what"], line) for line in found), one["what"]
        assert one["why"].endswith(".")


def test_the_document_kept_is_that_of_the_last_release() -> None:
    released = re.findall(
        r"^## \[(\d+\.\d+\.\d+)\]", (REPOSITORY / "CHANGELOG.md").read_text(), re.M
    )
    assert released[0] == SAID["release"]
    assert [path.name for path in RELEASED.glob("*.json")] == [f"openapi-{released[0]}.json"]


def list_deprecated(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if operation.get("deprecated"):
                yield f"{method.upper()} {path}", operation


def list_silent(document: dict[str, Any]) -> list[str]:
    """Deprecated operations whose answers describe no headers that say so."""
    return [
        name
        for name, operation in list_deprecated(document)
        for status, answer in operation["responses"].items()
        if status < "3" and not {"Deprecation", "Sunset"} <= set(answer.get("headers", {}))
    ]


def test_what_is_deprecated_says_so_in_its_answers(current: dict[str, Any]) -> None:
    assert list_silent(current) == []
    named = dict(list_deprecated(current))
    assert (
        named
        or "Nothing is deprecated\ntoday"
        in (REPOSITORY / "docs" / "interface-changes.md").read_text()
    )
    old = {"deprecated": True, "responses": {"200": {"description": "OK"}}}
    assert list_silent({"paths": {"/old": {"get": old}}}) == ["GET /old"]
