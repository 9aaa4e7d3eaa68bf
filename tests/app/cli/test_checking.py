"""promptsmooth audit: four exit statuses, and the verdict in the last line."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli.__main__ import cli

FROZEN = Path(__file__).parents[2] / "frozen" / "version_1" / "certificates" / "one-sigma.json"
OTHER = "A" * 43 + "="


def audit(path: Path, *keys: str):
    options = [word for key in keys for word in ("--key", key)]
    return CliRunner().invoke(cli, ["audit", str(path), *options])


@pytest.fixture
def forged(tmp_path: Path) -> Path:
    document = json.loads(FROZEN.read_bytes())
    document["certificates"][0]["radius"] += 1e-6
    path = tmp_path / "forged.json"
    path.write_text(json.dumps(document))
    return path


def test_the_status_says_what_was_found_and_whether_a_key_was_compared(forged: Path) -> None:
    key = json.loads(FROZEN.read_bytes())["signature"]["public_key"]
    for path, keys, status, verdict in (
        (FROZEN, [], 3, "; key not compared"),
        (FROZEN, [key], 0, f"signed by the trusted key {key}"),
        (FROZEN, [f" {key}\n"], 0, f"signed by the trusted key {key}"),
        (FROZEN, [OTHER, key], 0, f"signed by the trusted key {key}"),
        (FROZEN, [OTHER], 1, "DOES NOT HOLD: 1 finding"),
        (forged, [], 1, "DOES NOT HOLD: 3 findings"),
        (forged, [key], 1, "DOES NOT HOLD: 3 findings"),
    ):
        shown = audit(path, *keys)
        assert shown.exit_code == status, shown.output
        assert shown.stdout.splitlines()[-1].endswith(verdict)


@pytest.mark.parametrize("key", ["", "zzz", "AAAA", "A" * 100])
def test_a_key_that_is_none_refutes_nobody(key: str) -> None:
    shown = audit(FROZEN, key)
    assert shown.exit_code == 2
    assert "32 bytes in base64" in shown.stderr.replace("\n", " ")
    assert "DOES NOT HOLD" not in shown.output


def test_what_is_no_json_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "text.json"
    path.write_text("no certificate")
    assert audit(path).exit_code == 2
