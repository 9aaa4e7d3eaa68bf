"""All promptings through the running service, and prompts that outlive an engine."""

import base64
import json
from pathlib import Path

import numpy as np
import psutil
import pytest
from click.testing import Result
from typer.testing import CliRunner
from waiting import HANG_S

from app.cli.__main__ import cli

EVERY = ["template", "zero-shot", "routed"]


def create_image(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(60, 200, (3, 64, 64)).astype(np.uint8)


BANK = json.dumps(
    [
        {"prompting": "template"},
        {"prompting": "zero-shot"},
        {
            "prompting": "routed",
            "bank": [{"template": "A {} image."}, {"template": "This is an image of {}."}],
        },
    ]
)


def test_promptings_over_http_can_be_audited_and_reproduced(stack, to_png, tmp_path):
    image = to_png(create_image(5))
    answer = stack.certify(image, sigma=["0.1", "0.25"], targets=BANK, n_max="300")
    assert answer.status_code == 200, answer.text
    document = answer.json()
    assert [c["prompting"] for c in document["certificates"]] == EVERY * 2
    assert stack.http.post("/audit", json=document).json()["holds"]

    missing = reproduce(tmp_path, image, document)
    assert missing.exit_code == 2
    assert "--prompt" in missing.output
    found = reproduce(tmp_path, image, document, *fetch_prompts(stack, document, tmp_path))
    assert found.exit_code == 0, found.output
    assert found.output.count("every single vote") == 6


def reproduce(folder: Path, image: bytes, document: dict, *prompts: Path) -> Result:
    (folder / "certificate.json").write_text(json.dumps(document))
    (folder / "image.png").write_bytes(image)
    command = ["reproduce", str(folder / "certificate.json"), str(folder / "image.png")]
    command += ["--data-dir", str(folder / "data")]
    return CliRunner().invoke(cli, [*command, *(f"--prompt={path}" for path in prompts)])


def fetch_prompts(stack, document: dict, folder: Path) -> list[Path]:
    """The tuned prompts that certificates name, as whoever holds them would fetch them."""
    paths = []
    for entry in document["certificates"]:
        if entry["prompting"] == "zero-shot":
            answer = stack.http.get(f"/prompts/{entry['prompt']['sha256']}/ctx")
            assert len(base64.b64decode(answer.json()["ctx"])) == 4 * 64
            paths.append(folder / f"{len(paths)}.json")
            paths[-1].write_text(answer.text)
    return paths


def test_votes_of_the_selector_can_be_checked_too(stack, to_png):
    answer = stack.certify(to_png(create_image(6)), sigma="0.25", targets=BANK, n_max="300")
    document = answer.json()
    path = f"/certifications/{document['id']}/votes"
    for ballot, root in (
        ("selector", document["certificates"][2]["routing"]["selector"]["votes_root"]),
        ("prediction", document["certificates"][2]["votes_root"]),
    ):
        query = {"certificate": 2, "ballot": ballot, "sample": [0, 7]}
        found = stack.http.get(path, params=query).json()
        assert found["root"] == root["estimation"]
        assert len(found["votes"]) == 2
    none = stack.http.get(path, params={"certificate": 0, "ballot": "selector", "sample": 0})
    assert none.status_code == 404


@pytest.mark.long
def test_an_engine_killed_under_way_changes_no_tuned_certificate(stack, to_png, tmp_path):
    """The retry goes on under the prompt that was kept: every vote is that prompt's."""
    fields = {"sigma": "0.25", "targets": BANK, "n_max": "2000", "tolerance": "0"}
    image = to_png(create_image(7))
    location = stack.certify(image, wait=0, **fields).headers["location"]
    stack.count(location)
    (engine,) = stack.processes("worker.engine")
    engine.kill()
    psutil.wait_procs([engine], timeout=HANG_S)
    killed = stack.follow(location)
    assert killed["status"] == "finished"
    found = reproduce(tmp_path, image, killed, *fetch_prompts(stack, killed, tmp_path))
    assert found.exit_code == 0, found.output
    assert found.output.count("every single vote") == 3
