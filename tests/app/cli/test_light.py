"""The app's image has the core dependencies alone, and operators' commands run on them."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from waiting import HANG_S

REPOSITORY = Path(__file__).parents[3]
HEAVY = {"torch", "torchvision", "open_clip", "numba", "mpmath", "transformers"}
_LIGHT = f"""
import importlib.util
import sys

absent = {sorted(HEAVY | {"tokenizers", "huggingface_hub"})!r}
find_spec = importlib.util.find_spec

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Absent())
importlib.util.find_spec = lambda name: None if name in absent else find_spec(name)
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


def test_keys_of_a_data_folder_are_those_that_up_reads_there(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    made = run("keys", "add", "--label", "lab", "--data-dir", str(folder), folder=tmp_path)
    assert made.returncode == 0, made.stderr
    assert not (tmp_path / "keys.toml").exists(), "the folder was named, and nothing else counts"
    listed = run("keys", "list", "--json", "--data-dir", str(folder), folder=tmp_path)
    (key,) = json.loads(listed.stdout)
    for command in ("rotate", "revoke"):
        done = run("keys", command, key["id"], "--data-dir", str(folder), folder=tmp_path)
        assert done.returncode == 0, done.stderr
    stored = tomllib.loads((folder / "keys.toml").read_text())["keys"]
    assert stored[0]["revoked_at"]


def test_the_version_is_that_of_the_project(tmp_path: Path) -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    shown = run("--version", folder=tmp_path)
    assert shown.stdout == f"promptsmooth {project['version']}\n"


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


_WRITING = [("keys", "list", "--json"), ("prompts", "list"), ("--help",), ("--version",)]


def write_to(stdout: int, arguments: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    """A command whose standard output is this file."""
    return subprocess.run(
        [sys.executable, "-m", "app.cli", *arguments],
        cwd=REPOSITORY,
        stdout=stdout,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        timeout=HANG_S,
    )


@pytest.mark.parametrize("arguments", _WRITING)
def test_a_full_disk_is_one_sentence(arguments: tuple[str, ...]) -> None:
    with Path("/dev/full").open("w") as full:
        done = write_to(full.fileno(), arguments)
    said = done.stderr.splitlines()
    assert (done.returncode, len(said)) == (2, 1), done.stderr
    assert said[0] == "promptsmooth: standard output: No space left on device"


@pytest.mark.parametrize("arguments", _WRITING)
def test_a_reader_that_has_left_ends_a_command_without_a_word(arguments: tuple[str, ...]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = write_to(writer, arguments)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


def test_a_service_is_asked_to_evaluate_without_anything_heavy(tmp_path: Path) -> None:
    """It comes as far as the service, which is not there."""
    image = tmp_path / "data" / "test" / "hand" / "0.png"
    image.parent.mkdir(parents=True)
    image.write_bytes(b"x")
    (image.parents[1] / "skull").mkdir()
    (image.parents[1] / "skull" / "0.png").write_bytes(b"y")
    asked = ("--data", str(tmp_path / "data"), "--server", "ftp://nowhere")
    done = run("evaluate", *asked, folder=tmp_path, PROMPTSMOOTH_DATA_DIR=str(tmp_path / "own"))
    assert done.returncode == 2
    assert "expected the service's address" in done.stderr
