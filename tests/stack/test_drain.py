"""A host that drains gives its jobs back and says when it is done."""

import json
import subprocess

import numpy as np
import pytest
from command import PROMPTSMOOTH
from waiting import HANG_S


def run(stack, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [PROMPTSMOOTH, *arguments, "--data-dir", stack.log.parent / "data"]
    return subprocess.run(command, capture_output=True, text=True, timeout=HANG_S, check=False)


@pytest.mark.long
def test_an_urgent_image_is_answered_while_every_other_worker_is_busy(stack, to_png):
    """The stack's host has four workers, and the one of urgent images."""
    pixels = np.random.default_rng(91).integers(60, 200, (6, 3, 64, 64)).astype(np.uint8)
    asked = {"sigma": "0.3", "n": "100000", "wait": 0}
    long = [stack.certify(to_png(one), **asked).headers["location"] for one in pixels[:4]]
    for location in long:
        stack.count(location)
    waiting = stack.certify(to_png(pixels[4]), **asked).headers["location"]
    answer = stack.certify(to_png(pixels[5]), sigma="0.3", n="100", priority="urgent")
    assert (answer.status_code, answer.json()["status"]) == (200, "finished")
    states = [stack.http.get(location).json()["status"] for location in (*long, waiting)]
    assert states == ["running"] * 4 + ["queued"]
    for location in (waiting, *long):
        assert stack.http.delete(location).json()["status"] == "cancelled"


@pytest.mark.long
def test_a_drained_host_hands_back_what_runs_and_goes_on_from_there(stack, to_png):
    image = np.random.default_rng(90).integers(60, 200, (3, 64, 64)).astype(np.uint8)
    location = stack.certify(to_png(image), wait=0, sigma="0.3", n="100000").headers["location"]
    before = stack.count(location, 300)
    drained = run(stack, "drain")
    assert drained.returncode == 0, drained.stdout + drained.stderr
    assert "drained" in drained.stdout
    assert stack.http.get(location).json()["status"] == "queued"
    not_ready = stack.http.get("/readyz")
    assert (not_ready.status_code, not_ready.json()["hosts"][0]["state"]) == (503, "drained")
    accepted = stack.certify(to_png(image), wait=0, sigma="0.2", n="100")
    assert accepted.status_code == 202
    listed = run(stack, "workers", "--json")
    assert (listed.returncode, json.loads(listed.stdout)[0]["state"]) == (1, "drained")

    assert run(stack, "resume").returncode == 0
    assert stack.count(location, before + 1) > before
    assert stack.http.delete(location).json()["status"] == "cancelled"
    assert stack.follow(accepted.headers["location"])["status"] == "finished"
    log = stack.log.read_text()
    assert "attempt_failed" not in log
    ended = [json.loads(line) for line in log.splitlines() if "certification_ended" in line]
    assert all(line["request_id"] and line["certification_id"] for line in ended)
