"""Several processes answer at one address: they count together, restart, and end together."""

import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from waiting import HANG_S, wait_until

SAMPLE = re.compile(r'request_duration_seconds_count{method="GET",route="/version".*} (\d+)')


@pytest.fixture
def server(tmp_path: Path, free_port: int, valkey_url: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "app", "--port", str(free_port), "--workers", "2"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, env={"REDIS_URL": valkey_url}, stdout=log, stderr=log)
    try:
        wait_until(lambda: len(list_answering(process)) == 2 and is_up(free_port), pause_s=0.2)
        yield process
    finally:
        process.terminate()
        process.wait(HANG_S)


def list_answering(process: subprocess.Popen[bytes]) -> set[int]:
    """The processes that answer: those that were spawned, but for the one that tracks them."""
    children = psutil.Process(process.pid).children()
    return {one.pid for one in children if "spawn_main" in read_command(one.pid)}


def read_command(pid: int) -> str:
    """The command of a process; empty once it has ended."""
    try:
        return " ".join(psutil.Process(pid).cmdline())
    except psutil.NoSuchProcess:
        return ""


def get(port: int, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=HANG_S) as answer:
        return answer.read().decode()


def is_up(port: int) -> bool:
    try:
        return "status" in get(port, "/healthz")
    except OSError:
        return False


def test_several_processes_are_one_service(server: subprocess.Popen[bytes], free_port: int) -> None:
    for _ in range(40):
        get(free_port, "/version")
    assert sum(map(int, SAMPLE.findall(get(free_port, "/metrics")))) == 40

    first, second = sorted(list_answering(server))
    psutil.Process(first).kill()
    wait_until(lambda: len(list_answering(server)) == 2 and is_up(free_port), pause_s=0.2)
    assert second in list_answering(server)

    answering = list_answering(server)
    server.send_signal(signal.SIGKILL)
    server.wait(HANG_S)
    wait_until(lambda: not any(map(read_command, answering)), pause_s=0.2)
