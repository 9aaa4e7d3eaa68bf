"""The app's image has the core dependencies alone, and operators' commands run on them."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from waiting import HANG_S

REPOSITORY = Path(__file__).parents[3]
HEAVY = {"torch", "torchvision", "open_clip", "numba", "mpmath", "matplotlib", "transformers"}
_LIGHT = f"""
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {HEAVY | {"tokenizers", "huggingface_hub"}!r}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Absent())
from app.cli.__main__ import main
sys.exit(main())
"""


def run(*arguments: str, folder: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    """The command line where nothing heavy can be imported."""
    keys_file = {"PROMPTSMOOTH_KEYS_FILE": str(folder / "keys.toml")}
    environment = {**os.environ, **keys_file, **variables}
    command = [sys.executable, "-c", _LIGHT, *arguments]
    return subprocess.run(
        command,
        env=environment,
        cwd=REPOSITORY,
        capture_output=True,
        encoding="utf-8",
        timeout=HANG_S,
    )


def test_keys_are_made_and_listed_without_anything_heavy(tmp_path: Path) -> None:
    made = run("keys", "add", "--label", "lab", folder=tmp_path)
    assert made.returncode == 0, made.stderr
    stored = tomllib.loads((tmp_path / "keys.toml").read_text())["keys"]
    assert [key["label"] for key in stored] == ["lab"]
    assert made.stdout.strip() not in (tmp_path / "keys.toml").read_text()


@pytest.mark.parametrize("command", ["drain", "resume", "workers", "doctor"])
def test_hosts_are_spoken_to_without_anything_heavy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_port: int, command: str
) -> None:
    monkeypatch.setenv("REDIS_URL", f"redis://127.0.0.1:{free_port}/0")
    done = run(command, folder=tmp_path)
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr, done.stderr
    assert "Redis" in done.stdout + done.stderr


def test_a_character_that_a_locale_lacks_does_not_end_a_command(
    tmp_path: Path, free_port: int
) -> None:
    """A pipe or a file gets UTF-8, whatever the locale."""
    latin = {"PYTHONUTF8": "0", "PYTHONIOENCODING": "latin-1"}  # as where LANG says ISO-8859-1
    done = run("doctor", folder=tmp_path, REDIS_URL=f"redis://127.0.0.1:{free_port}/0", **latin)
    assert done.returncode == 1, done.stderr
    assert "→" in done.stdout
