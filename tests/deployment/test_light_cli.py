"""The app's image has the core dependencies alone, and operators' commands run on them."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
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


def run(*arguments: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """The command line where nothing heavy can be imported."""
    environment = {**os.environ, "PROMPTSMOOTH_KEYS_FILE": str(folder / "keys.toml")}
    command = [sys.executable, "-c", _LIGHT, *arguments]
    return subprocess.run(
        command, env=environment, cwd=REPOSITORY, capture_output=True, text=True, timeout=60
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
