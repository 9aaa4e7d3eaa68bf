"""The dossier of an evaluation that a service made, on the machine of a client."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from command import PROMPTSMOOTH
from waiting import HANG_S

pytestmark = pytest.mark.long
ASKED = {"dataset": "planes", "model": "linear", "sigma": ["0.25"], "n_max": 200}
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def evaluation(stack) -> str:
    """The id of a finished evaluation."""
    path = stack.http.post("/evaluations", json=ASKED).raise_for_status().headers["Location"]
    shown = stack.wait_for(path, lambda found: found["status"] in ("finished", "failed"))
    assert shown["status"] == "finished"
    return shown["id"]


@pytest.fixture
def run(stack, models_folder: Path, tmp_path: Path) -> Run:
    """Runs promptsmooth with some words, on a data folder that the service does not have."""

    def command(name: str, *words: object) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [PROMPTSMOOTH, name, *map(str, words), "--data-dir", tmp_path / "own"],
            env={**os.environ, "PROMPTSMOOTH_MODELS": str(models_folder)},
            capture_output=True,
            encoding="utf-8",
            timeout=HANG_S,
            check=False,
        )

    return command


def find_secret(stack) -> Path:
    (found,) = stack.log.parent.rglob("key-secret")
    return found


def name_server(stack, evaluation: str) -> tuple[str, ...]:
    return ("--server", str(stack.http.base_url), "--evaluation", evaluation)


def test_the_dossier_of_a_services_evaluation_is_signed_and_follows_from_its_run(
    stack, evaluation: str, run: Run, datasets: Path, tmp_path: Path
):
    made, out, data = tmp_path / "run", tmp_path / "report.pdf", ("--data", datasets / "planes")
    secret = ("--secret", find_secret(stack))
    written = run("dossier", made, *name_server(stack, evaluation), *data, *secret, "--out", out)
    assert written.returncode == 0, written.stderr
    stated = json.loads(out.with_suffix(".json").read_text())
    assert stated["dossier"]["results"]["question"]["dataset"] == "planes"
    key = stated["dossier"]["reproduction"]["signer"]
    checked = run("verify", out, "--key", key, "--run", made, *data)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "The run prints this very PDF." in checked.stdout
    shown = stack.http.get(f"/evaluations/{evaluation}/images.jsonl").raise_for_status()
    assert (made / "images.jsonl").read_bytes() == shown.content
    again = run("dossier", made, *name_server(stack, evaluation), "--out", out)
    assert again.returncode == 0, again.stderr
    assert "not signed" in again.stderr


def test_a_certificate_that_was_changed_after_it_was_fetched_is_found(
    stack, evaluation: str, run: Run, tmp_path: Path
):
    made, out = tmp_path / "run", tmp_path / "report.pdf"
    secret = ("--secret", find_secret(stack))
    fetched = run("dossier", made, *name_server(stack, evaluation), *secret, "--out", out)
    assert fetched.returncode == 0, fetched.stderr
    lines = made / "images.jsonl"
    changed = re.sub(r'"n_used":\d+', '"n_used":201', lines.read_text(), count=1)
    assert changed != lines.read_text()
    lines.write_text(changed)
    checked = run("verify", out, "--run", made)
    assert checked.returncode != 0
    refused = run("dossier", made, *name_server(stack, evaluation), "--out", out)
    assert (refused.returncode, "holds another run" in refused.stderr) == (2, True)


def test_what_is_not_there_is_said_in_a_sentence(stack, evaluation: str, run: Run, tmp_path: Path):
    made, out = tmp_path / "run", tmp_path / "report.pdf"
    alone = run("dossier", made, "--server", stack.http.base_url, "--out", out)
    assert "--server and --evaluation belong together" in alone.stderr
    unknown = run("dossier", made, *name_server(stack, "0" * 32), "--out", out)
    assert "evaluation" in unknown.stderr
    other = tmp_path / "secret"
    other.write_bytes(b"7" * 32)
    words = (*name_server(stack, evaluation), "--secret", other, "--out", out)
    refused = run("dossier", made, *words)
    assert "another key secret than that of the run" in refused.stderr
    shutil.rmtree(made)
    absent = run("dossier", made, "--out", out)
    assert "has no images.jsonl" in absent.stderr
    assert {one.returncode for one in (alone, unknown, refused, absent)} == {2}
    assert not out.exists()
