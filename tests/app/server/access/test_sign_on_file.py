"""The file of sign-on: what it must say, and what the guide says of it."""

import re
from pathlib import Path

import pytest
import tomli_w
from pydantic import TypeAdapter

from app.server.access.sign_on.configuration import (
    SignOnSettings,
    SignOnUnusable,
    load_sign_on_settings,
)
from app.server.access.sign_on.found import find_sign_on

PAGE = Path(__file__).parents[4] / "docs" / "sign-on.md"
GOOD = {
    "issuer": "https://idp.hospital.example",
    "client_id": "page",
    "groups": {"laboratory": ["submit"]},
}


def test_the_example_of_the_guide_is_read(tmp_path: Path) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (tmp_path / "sign-on.toml").write_text(example)
    found = load_sign_on_settings(tmp_path / "sign-on.toml")
    assert found.groups["operators"] == ("admin", "read")
    assert found.quotas.jobs == 500


def test_the_guide_describes_every_field() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| [^|]*\| (.*) \|$", PAGE.read_text(), re.MULTILINE))
    assert rows == {name: field.description for name, field in SignOnSettings.model_fields.items()}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"issuer": "http://idp.hospital.example"}, "issuer: expected https"),
        ({"issuer": "idp"}, "issuer: expected the address"),
        ({"groups": {}}, "groups"),
        ({"groups": {"laboratory": ["everything"]}}, "groups.laboratory"),
        ({"clock_skew_s": 301}, "clock_skew_s"),
        ({"isuer": "https://idp"}, "isuer"),
        ({"client_id": ""}, "client_id"),
        ({"ca": "/nonexistent/ca.pem"}, "/nonexistent/ca.pem cannot be read as certificates"),
        ({"ca": __file__}, "cannot be read as certificates"),
        ({"client_secret_file": "/nonexistent/secret"}, "cannot be read as a secret"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(
    tmp_path: Path, changes: dict[str, object], said: str
) -> None:
    path = tmp_path / "sign-on.toml"
    path.write_text(tomli_w.dumps(GOOD | changes))
    with pytest.raises(SignOnUnusable, match=re.escape(said)):
        find_sign_on(path)


def test_a_file_that_is_no_toml_or_not_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "sign-on.toml"
    with pytest.raises(SignOnUnusable, match="cannot be read"):
        find_sign_on(path)
    path.write_text("[")
    with pytest.raises(SignOnUnusable, match="expected TOML"):
        find_sign_on(path)


def test_plain_http_is_taken_on_this_machine_alone() -> None:
    local = GOOD | {"issuer": "http://127.0.0.1:9000"}
    assert TypeAdapter(SignOnSettings).validate_python(local).audiences == ("page",)
