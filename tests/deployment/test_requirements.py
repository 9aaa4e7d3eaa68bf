"""docker/requirements.py: what each image installs."""

import re
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
HEAVY = {"matplotlib", "torch", "torchvision", "open_clip_torch", "safetensors", "numba", "mpmath"}


def requirements(*extras: str) -> set[str]:
    command = [sys.executable, "docker/requirements.py", *extras]
    printed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return {re.split(r"[<>=]", line)[0] for line in printed.stdout.splitlines()}


def test_requirements_of_the_app_hold_nothing_heavy() -> None:
    assert not requirements() & HEAVY
    assert {"fastapi", "uvicorn", "rq"} <= requirements()


def test_requirements_of_the_worker_are_those_of_the_app_and_what_is_heavy() -> None:
    assert requirements("worker") == requirements() | HEAVY
