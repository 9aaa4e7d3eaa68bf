"""A misspelt setting is named, and no variable that a program reads is called misspelt."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner
from waiting import HANG_S

from app.cli.__main__ import cli
from app.deployment.variables import UnreadVariable, find_unread, list_variables

ROOT = Path(__file__).parents[3]
READ_IN = ("app", "worker", "models", "docker", "examples", "tools", "benchmarks", "docs")
NAME = re.compile(r"PROMPTSMOOTH_[A-Z_]*[A-Z](?![A-Z_])")


def test_a_misspelt_variable_is_found_with_the_one_that_was_meant() -> None:
    environment = {
        "PROMPTSMOOTH_MAX_BODY_BYTE": "1",
        "promptsmooth_treads": "2",
        "PROMPTSMOOTH_FAVOURITE_COLOUR": "blue",
        "PROMPTSMOOTH_THREADS": "2",
        "REDIS_URL": "redis://",
    }
    assert list(find_unread(environment)) == [
        UnreadVariable("PROMPTSMOOTH_FAVOURITE_COLOUR", None),
        UnreadVariable("PROMPTSMOOTH_MAX_BODY_BYTE", "PROMPTSMOOTH_MAX_BODY_BYTES"),
        UnreadVariable("promptsmooth_treads", "PROMPTSMOOTH_THREADS"),
    ]


def test_up_names_the_setting_of_a_folder_that_only_containers_mount(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PROMPTSMOOTH_MODELS_DIR", str(tmp_path))
    monkeypatch.setenv("PROMPTSMOOTH_TLS_DIR", str(tmp_path))  # TLS is the containers' alone
    monkeypatch.setenv("REDIS_URL", "nonsense")  # it ends after it has said it
    said = CliRunner().invoke(cli, ["up", "--data-dir", str(tmp_path)])
    assert said.exit_code == 2
    assert "PROMPTSMOOTH_MODELS_DIR is for containers: set PROMPTSMOOTH_MODELS\n" in said.output
    assert "TLS_DIR" not in said.output


def test_every_variable_that_the_project_names_is_known() -> None:
    files = [path for each in READ_IN for path in (ROOT / each).rglob("*") if path.is_file()]
    files += [*ROOT.glob("*.yml"), ROOT / "README.md"]
    named = {
        name
        for path in files
        if path.suffix in {".py", ".sh", ".yml", ".md", ".toml", ".service"}
        for name in NAME.findall(path.read_text())
    }
    assert len(named) > 50
    assert named - list_variables() == set()


def test_the_doctor_and_the_server_say_it(
    monkeypatch: pytest.MonkeyPatch, valkey_url: str, tmp_path: Path
) -> None:
    monkeypatch.setenv("REDIS_URL", valkey_url)
    monkeypatch.setenv("PROMPTSMOOTH_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("PROMPTSMOOTH_MAX_SIGMA", "2")
    said = CliRunner().invoke(cli, ["doctor"]).output
    assert "settings: no program reads PROMPTSMOOTH_MAX_SIGMA (did you mean" in said
    monkeypatch.setenv("PROMPTSMOOTH_MAX_SIGMAS", "none")  # the server ends after it has said it
    server = subprocess.run(
        [sys.executable, "-m", "app"], cwd=ROOT, capture_output=True, text=True, timeout=HANG_S
    )
    assert server.returncode == 2
    assert '"meant": "PROMPTSMOOTH_MAX_SIGMAS"' in server.stdout + server.stderr
