"""Waits for a service that a benchmark has started."""

import subprocess
import time
from pathlib import Path

import httpx2


def wait_until_ready(
    http: httpx2.Client, service: subprocess.Popen[bytes], log: Path, *, timeout_s: float = 300
) -> None:
    """Returns once the service is ready. Raises RuntimeError, with the end of its log, if not."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and service.poll() is None:
        try:
            if http.get("/readyz").status_code == 200:
                return
        except httpx2.TransportError:
            pass
        time.sleep(0.3)
    raise RuntimeError(f"the service did not become ready: {log.read_text()[-2000:]}")
