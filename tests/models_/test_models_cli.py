"""promptsmooth models list."""

import pytest
from typer.testing import CliRunner

from app.cli import cli
from models.testing import create_linear_model, write_linear_model


def test_every_model_is_listed_with_the_state_of_its_files(tmp_path, monkeypatch):
    for name in ("here", "gone", "other"):
        write_linear_model(tmp_path, create_linear_model(), model_id=name)
    (tmp_path / "gone" / "linear.safetensors").unlink()
    (tmp_path / "other" / "linear.safetensors").write_bytes(b"short")
    monkeypatch.setenv("PROMPTSMOOTH_MODELS", str(tmp_path))
    shown = CliRunner().invoke(cli, ["models", "list"])
    assert shown.exit_code == 0
    rows = [line.split() for line in shown.stdout.splitlines()]
    for name, state in [("here", "present"), ("gone", "missing"), ("other", "wrong")]:
        (row,) = (row for row in rows if name in row)
        assert state in row
        assert "Apache-2.0" in row
    assert any("bundled" in row and "CC-BY-SA-4.0" in row for row in rows)


@pytest.mark.parametrize("arguments", [["list"], ["measure-eta", "nothing"]])
def test_what_is_not_there_is_one_sentence_and_exit_status_2(arguments, tmp_path, monkeypatch):
    monkeypatch.setenv("PROMPTSMOOTH_MODELS", str(tmp_path / "absent"))
    shown = CliRunner().invoke(cli, ["models", *arguments])
    assert shown.exit_code == 2
    assert shown.stderr.count("\n") == 1
    assert "absent" in shown.stderr
