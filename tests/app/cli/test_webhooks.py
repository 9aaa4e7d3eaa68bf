"""promptsmooth webhooks: secrets are printed once, rotated with an overlap, and never listed."""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from app.cli.__main__ import cli
from app.server.access.api_keys import change_keys, create_key
from app.server.access.operator_file import now_utc
from app.server.access.sign_on.people import name_owner
from app.server.jobs.webhooks.key_webhooks import load_webhooks

Run = Callable[..., Result]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PROMPTSMOOTH_KEYS_FILE", str(tmp_path / "keys.toml"))
    return tmp_path


@pytest.fixture
def key_id(folder: Path) -> str:
    with change_keys(folder / "keys.toml") as keys:
        key, _ = create_key("a test's", ("submit",), now=now_utc())
        keys.append(key)
    return key.id


@pytest.fixture
def run(folder: Path) -> Run:
    def invoke(*arguments: str, expected: int = 0) -> Result:
        result = CliRunner().invoke(cli, list(arguments))
        assert result.exit_code == expected, result.output
        return result

    return invoke


def test_a_secret_is_printed_when_it_is_made_and_only_then(run, folder, key_id):
    secret = run("webhooks", "set", key_id).stdout.strip()
    assert secret.startswith("whsec_")
    (own,) = load_webhooks(folder / "webhooks.toml").webhooks
    assert (own.key_id, own.url, own.list_secrets(now_utc())) == (key_id, None, (secret,))
    url = "https://ris.hospital.example/hooks"
    assert run("webhooks", "set", key_id, "--url", url).stdout == ""
    shown = run("webhooks", "list", "--json").stdout
    assert json.loads(shown) == [{"key_id": key_id, "url": url, "secrets": 1}]
    assert secret not in shown + run("webhooks", "list").output


def test_rotating_keeps_the_old_secret_as_long_as_is_said(run, folder, key_id):
    old = run("webhooks", "set", key_id).stdout.strip()
    new = run("webhooks", "rotate", key_id, "--overlap-hours", "48").stdout.strip()
    (own,) = load_webhooks(folder / "webhooks.toml").webhooks
    assert own.list_secrets(now_utc() + timedelta(hours=47)) == (new, old)
    assert own.list_secrets(now_utc() + timedelta(hours=49)) == (new,)
    last = run("webhooks", "rotate", key_id, "--overlap-hours", "0").stdout.strip()
    (own,) = load_webhooks(folder / "webhooks.toml").webhooks
    assert own.list_secrets(now_utc()) == (last,)


def test_webhooks_of_nobody_and_to_nowhere_are_refused_in_a_sentence(run, key_id):
    for arguments, words in (
        (("set", "00000000"), "has no key"),
        (("set", key_id, "--url", "ftp://ris.example"), "http or https"),
        (("rotate", key_id), "has no webhooks"),
        (("remove", key_id), "has no webhooks"),
    ):
        refused = run("webhooks", *arguments, expected=2)
        assert words in " ".join(refused.output.split())


def test_removed_webhooks_are_gone(run, folder):
    run("webhooks", "set", "anonymous")
    run("webhooks", "remove", "anonymous")
    assert load_webhooks(folder / "webhooks.toml").webhooks == ()


def test_a_person_who_signs_in_has_webhooks_without_a_key(run, folder):
    """What a program with a token of the issuer sends belongs to such a name."""
    person = name_owner("https://idp.hospital.example", "ris")
    run("webhooks", "set", person, "--url", "https://ris.hospital.example/hooks")
    assert [one.key_id for one in load_webhooks(folder / "webhooks.toml").webhooks] == [person]
    for mistyped in (person[:-1], person.replace("oidc-", "oidc"), f"{person}0"):
        run("webhooks", "set", mistyped, expected=2)


def test_a_data_folder_has_webhooks_of_its_own(run, key_id, tmp_path):
    """As with `promptsmooth keys --data-dir`, whatever the environment names."""
    other = tmp_path / "other"
    run("webhooks", "set", key_id, "--data-dir", str(other), expected=2)  # a key of elsewhere
    token = run("keys", "add", "--label", "x", "--data-dir", str(other)).stdout.strip()
    own = token.split("_")[1]
    run("webhooks", "set", own, "--data-dir", str(other))
    assert [one.key_id for one in load_webhooks(other / "webhooks.toml").webhooks] == [own]
    assert json.loads(run("webhooks", "list", "--json").stdout) == []
