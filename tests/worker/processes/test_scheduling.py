"""A process that lets others go first does so in all its threads."""

import subprocess
import sys

CODE = """
import os, threading
from pathlib import Path
from worker.processes.scheduling import let_others_go_first
wanted = min(19, os.getpriority(os.PRIO_PROCESS, 0) + 10)
end = threading.Event()
thread = threading.Thread(target=end.wait)
thread.start()
let_others_go_first()
later = threading.Thread(target=end.wait)
later.start()
threads = [int(one.name) for one in Path("/proc/self/task").glob("*")]
print(len(threads), {os.getpriority(os.PRIO_PROCESS, one) == wanted for one in threads})
end.set()
"""


def test_every_thread_is_nicer_whether_it_was_started_before_or_after():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "3 {True}"
