"""The interface against its own description, by schemathesis: make test-schema."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from command import PROMPTSMOOTH

pytestmark = pytest.mark.schema

CONFIG = Path(__file__).with_name("schemathesis.toml")
SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
FEWEST_CASES = 2000
EXAMPLES_AN_OPERATION = 40
SEED = 20261125


def test_every_answer_is_as_described(start, stop, models_folder, tmp_path, free_port, to_png):
    """No 5xx but a documented 503, no undocumented status, no answer beside its schema."""
    keys = tmp_path / "keys.toml"
    key = _add_key(keys)
    stack = start(
        tmp_path / "stack",
        free_port,
        models=models_folder,
        keys_file=str(keys),
        rq_workers="2",
        learning_workers="0",
        max_n="2000",
        threads="1",
    )
    try:
        cases = _run(f"http://127.0.0.1:{free_port}", key, tmp_path)
    finally:
        stop(stack)
    assert "internal_error" not in stack.log.read_text()
    assert cases["generated"] >= FEWEST_CASES
    assert cases["with_failures"] == cases["errored"] == 0


def _add_key(keys: Path) -> str:
    options = ["--label", "schema", "--requests-per-minute", "0", "--jobs", "0"]
    scopes = ["--scope", "submit", "--scope", "read", "--scope", "admin"]
    command = [str(PROMPTSMOOTH), "keys", "add", "--file", str(keys), *options, *scopes]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def _run(url: str, key: str, folder: Path) -> dict[str, int]:
    """Fails with all that schemathesis found, or says how many cases it sent."""
    report = folder / "report.json"
    command = [
        *(str(SCHEMATHESIS), "--config-file", str(CONFIG), "run", f"{url}/openapi.json"),
        *("--max-examples", str(EXAMPLES_AN_OPERATION), "--seed", str(SEED)),
        *("--header", f"Authorization: Bearer {key}", "--workers", "1", "--no-shrink"),
        *("--continue-on-failure", "--report", "json", "--report-json-path", str(report)),
    ]
    run = subprocess.run(command, check=False, capture_output=True, text=True, cwd=folder)
    assert run.returncode == 0, run.stdout[-20_000:]
    cases: dict[str, int] = json.loads(report.read_text())["test_cases"]
    return cases
