"""The threads of an engine follow the cores that it may use."""

import os

import pytest

from worker.engine.runner.machine import count_cores

ALLOWED = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("quota", "cores"),
    [
        ("max 100000", ALLOWED),
        ("100000 100000", 1),
        ("50000 100000", 1),
        ("150000 100000", min(2, ALLOWED)),
        (f"{100_000 * (ALLOWED + 5)} 100000", ALLOWED),
        ("", ALLOWED),
    ],
)
def test_cores_are_counted_within_the_quota_of_the_container(tmp_path, quota, cores):
    file = tmp_path / "cpu.max"
    file.write_text(quota)
    assert count_cores(file) == cores


def test_without_a_quota_all_allowed_cores_count(tmp_path):
    assert count_cores(tmp_path / "cpu.max") == ALLOWED
