"""Checks whether this host's engine answers: python -m worker.health.

The exit status is 0 if it does, 1 if it does not, and 3 if a setting is unusable; the reason is
printed. An engine listens only after its models are loaded, tested and warmed up, so an engine that
answers is ready.
"""

import sys
from pathlib import Path

from worker.engine.client import EngineClient, EngineLost
from worker.processes.logs import configure_logging
from worker.processes.start import read_settings

_ANSWERS_WITHIN_S = 2.0


def find_fault(socket_path: Path) -> str | None:
    """Why the engine at `socket_path` is not ready; None if it is."""
    try:
        with EngineClient.connect(socket_path, wait_s=0) as client:
            client.status(timeout_s=_ANSWERS_WITHIN_S)
    except EngineLost as error:
        return str(error)
    return None


if __name__ == "__main__":
    configure_logging()
    sys.exit(find_fault(read_settings().socket_path))
