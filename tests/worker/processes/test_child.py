"""A child is started again, given up with a last word that says what to look at, or never."""

import json
import os
import subprocess
import sys

import pytest
from logged import list_events
from waiting import HANG_S

from worker.processes.child import CANNOT_START, Child, GivenUp
from worker.processes.socket_claim import claim_socket

HINT = "look at the disk"


def run(child: Child, *, deaths: int) -> None:
    """Lets it die so often; its own clock, so that pauses take no time."""
    now = 0.0
    while child.quick_deaths < deaths:
        child.keep_running(now)
        if child.process is not None:
            child.process.wait()
        now += 30.0 if child.process is None else 0.0  # each pause is over


def ending(status: int, **options: object) -> Child:
    command = [sys.executable, "-S", "-c", f"raise SystemExit({status})"]
    return Child(name="redis", command=command, hint=lambda: HINT, **options)


def test_the_last_word_on_a_child_that_keeps_ending_says_what_to_look_at(caplog):
    with pytest.raises(GivenUp, match=HINT):
        run(ending(1), deaths=99)
    assert list_events(caplog)[-1]["do"] == HINT


def test_what_passes_without_the_child_does_not_end_the_service():
    """A full disk ends Redis again and again, until somebody makes room."""
    child = ending(1, persists=True)
    run(child, deaths=12)
    assert child.restarts == 11
    with pytest.raises(GivenUp):
        run(ending(CANNOT_START, persists=True), deaths=2)


def test_a_second_host_on_one_folder_says_so_and_leaves_the_first_its_engine(redis, settings):
    """It would take the engine's socket over, and remove it when it ends."""
    environment = {
        **os.environ,
        "REDIS_URL": settings.redis_url.get_secret_value(),
        "PROMPTSMOOTH_DATA_DIR": str(settings.data_dir),
        "PROMPTSMOOTH_ENGINE_SOCKET": str(settings.data_dir / "mine.sock"),
    }
    with claim_socket(settings.data_dir / "mine.sock"):
        done = subprocess.run(
            [sys.executable, "-m", "worker"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=HANG_S,
            check=False,
        )
    assert done.returncode == CANNOT_START
    last = json.loads(done.stderr.splitlines()[-1])
    assert last["event"] == "given_up"
    assert "PROMPTSMOOTH_DATA_DIR" in last["reason"]


@pytest.mark.parametrize(
    "module",
    ["worker", "worker.engine", "worker.rq_worker", "worker.health", "worker.learning.process"],
)
def test_a_setting_that_cannot_be_used_is_named_and_no_traceback(module):
    done = subprocess.run(
        [sys.executable, "-m", module],
        env={**os.environ, "PROMPTSMOOTH_THREADS": "many"},
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )
    assert done.returncode == CANNOT_START
    (line,) = done.stderr.splitlines()
    assert json.loads(line)["event"] == "settings_unusable"
    assert "PROMPTSMOOTH_THREADS" in json.loads(line)["reason"]
