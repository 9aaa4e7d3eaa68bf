"""docs/sizing.md is computed from the figures that stand in benchmarks/results."""

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PAGE = (REPOSITORY / "docs" / "sizing.md").read_text()
SECONDS = 24 * 3600 * 0.7


def find_row(*cells: str) -> list[str]:
    (row,) = [line for line in PAGE.splitlines() if all(f"| {cell} |" in line for cell in cells)]
    return [cell.strip() for cell in row.strip("|").split("|")]


def test_the_page_is_what_the_figures_say() -> None:
    command = [sys.executable, "benchmarks/service/sizing.py", "--check"]
    environment = {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, check=False)
    assert done.returncode == 0, "run python benchmarks/service/sizing.py"


def test_cores_are_those_of_hand() -> None:
    """162 samples an image (staged.md), 27.8 a second on two cores (throughput-cpu.md)."""
    row = find_row("10,000", "is the radius at least 0.5 σ?", "26.8")
    assert float(row[2]) == pytest.approx(10_000 * 161.9 / SECONDS, abs=0.05)
    assert int(row[4]) == 2  # 26.8 / 27.8 of two cores, rounded up


def test_memory_is_that_of_hand() -> None:
    """An input of 150,528 bytes for a day and 19,670 bytes for 90 days (redis-cost.md)."""
    row = find_row("1,000", "is the radius at least 0.5 σ?", "90 days")
    by_hand = 1_000 * (150_528 + 90 * (31_958.4 - 12_288)) / 1e9
    assert float(row[4].removesuffix(" GB")) == pytest.approx(by_hand, abs=0.1)
