"""A setting that cannot be used is named, by every part that reads it, before anything starts."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import HANG_S

PREPARE = ["app.deployment"]
APP = ["app"]
WORKER = ["worker"]
COMMAND = ["app.cli", "doctor"]


def start(
    command: list[str], tmp_path: Path, settings: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("PROMPTSMOOTH_")}
    return subprocess.run(
        [sys.executable, "-m", *command],
        env={**inherited, "PROMPTSMOOTH_DATA_DIR": str(tmp_path), **settings},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )


@pytest.mark.parametrize(
    ("command", "setting", "expected"),
    [
        (PREPARE, "PROMPTSMOOTH_MAX_SIGMAS=-3", "greater than or equal to 1"),
        (PREPARE, "PROMPTSMOOTH_SERVER_NAMES=[lab", "a list in JSON"),
        (PREPARE, "PROMPTSMOOTH_NOISE=gpu", "'host' or 'device'"),
        (APP, "PROMPTSMOOTH_TRUSTED_HOSTS=lab.example", "a list in JSON"),
        (WORKER, "PROMPTSMOOTH_NOISE=gpu", "'host' or 'device'"),
        (WORKER, "PROMPTSMOOTH_SERVE_MODELS=bundled-2", "a list in JSON"),
        (COMMAND, "PROMPTSMOOTH_DEVICE=gpu", "'cpu' or 'cuda'"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(
    command: list[str], setting: str, expected: str, tmp_path: Path
) -> None:
    name, _, value = setting.partition("=")
    done = start(command, tmp_path, {name: value})
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert name in said
    assert expected in said
    assert "Traceback" not in said


def test_a_password_in_a_setting_is_not_repeated(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("in-the-file")
    file = str(tmp_path / "password")
    url = "redis://user:in-the-url@127.0.0.1:1/0"
    done = start(WORKER, tmp_path, {"REDIS_URL": url, "PROMPTSMOOTH_REDIS_PASSWORD_FILE": file})
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert "REDIS_URL" in said
    assert "in-the" not in said
