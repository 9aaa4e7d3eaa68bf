"""python -m worker.health: what the worker container's health check runs."""

import subprocess
import sys
from multiprocessing.connection import Listener
from pathlib import Path

from waiting import HANG_S

from worker.health import find_fault


def test_health_without_an_engine_says_where_none_listens(tmp_path: Path) -> None:
    socket_path = tmp_path / "engine.sock"
    environment = {"PROMPTSMOOTH_ENGINE_SOCKET": str(socket_path), "HOME": str(tmp_path)}
    command = [sys.executable, "-m", "worker.health"]

    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=HANG_S)

    assert done.returncode == 1
    assert f"no engine is listening at {socket_path}" in done.stderr


def test_health_of_an_engine_that_does_not_answer_is_bounded(tmp_path: Path) -> None:
    socket_path = tmp_path / "engine.sock"
    with Listener(str(socket_path), family="AF_UNIX"):
        assert find_fault(socket_path) == "the engine did not answer for 2 s"
