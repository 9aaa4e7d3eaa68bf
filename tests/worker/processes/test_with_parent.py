"""A child never outlives whoever started it, not even one killed before the child's first line."""

import subprocess
import sys
from pathlib import Path

import psutil
from waiting import HANG_S, wait_until

from worker.processes.parent import with_parent

_STARTS_A_CHILD = """
import subprocess, sys, time
from worker.processes.parent import with_parent
child = subprocess.Popen(with_parent([sys.executable, "-c", "import time; time.sleep(6000)"]))
print(child.pid, flush=True)
time.sleep(6000)
"""


def test_a_child_ends_when_its_parent_is_killed():
    parent = subprocess.Popen([sys.executable, "-c", _STARTS_A_CHILD], stdout=subprocess.PIPE)
    with parent:
        child = psutil.Process(int(parent.stdout.readline()))
        wait_until(lambda: "worker.processes.parent" not in child.cmdline())
        parent.kill()
    _, alive = psutil.wait_procs([child], timeout=HANG_S)
    assert not alive


def test_a_child_whose_parent_was_killed_before_it_asked_does_not_run(tmp_path: Path):
    ran = tmp_path / "ran"
    command = with_parent([sys.executable, "-c", f"open({str(ran)!r}, 'w')"])
    child = subprocess.Popen([*command[:3], str(_dead_process()), *command[4:]])
    assert child.wait(timeout=HANG_S) == 1
    assert not ran.exists()


def test_a_child_keeps_its_arguments_and_its_exit_status():
    command = with_parent([sys.executable, "-c", "import sys; sys.exit(len(sys.argv))", "a b", ""])
    assert subprocess.run(command, check=False).returncode == 3


def _dead_process() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    return process.pid
