"""The command promptsmooth, as a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

from waiting import HANG_S

PROMPTSMOOTH = Path(sys.executable).with_name("promptsmooth")


def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs it to its end, whatever its exit status."""
    return subprocess.run(
        [PROMPTSMOOTH, *map(str, arguments)],
        env={**os.environ, **environment},
        capture_output=True,
        encoding="utf-8",
        timeout=HANG_S,
        check=False,
    )
