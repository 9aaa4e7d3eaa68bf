"""Runs the HTTP server: python -m app [--host --port --workers].

Containers and `promptsmooth up` start it. It does what only a server process can do: choose the
address, limit how long a client may take for its headers, and refuse to listen to everyone without
keys.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import uvicorn

from app.deployment.variables import find_unread
from app.server.access.api_keys import KeysFileUnusable
from app.server.access.keyring import Keyring
from app.server.access.sign_on.configuration import SignOnUnusable
from app.server.access.sign_on.found import find_sign_on
from app.server.jobs.webhooks.key_webhooks import WebhooksFileUnusable
from app.server.jobs.webhooks.webhooks import require_usable
from app.server.middleware.perimeter import NotLoopback, require_loopback
from app.server.middleware.protocol import PatientProtocol
from app.settings import AppSettings
from models.log import get_logger
from worker.processes.logs import configure_logging
from worker.settings import SETTINGS_ERRORS, explain_settings

log = get_logger("app")

_REFUSED = 2
_SILENT_S = 60  # on a busy machine a process may take long to say that it lives
SHARED_FIGURES = "PROMETHEUS_MULTIPROC_DIR"  # a name that prometheus_client reads


def main() -> int:
    """Serves until it is stopped; returns the exit status."""
    asked = _parse()
    configure_logging()
    for unread in find_unread(os.environ):
        log.warning("setting_unread", name=unread.name, meant=unread.meant)
    try:
        settings = AppSettings()
        sign_on = find_sign_on(settings.sign_on_file) is not None
        if not settings.open and not Keyring(settings.keys_file, sign_on=sign_on).required:
            require_loopback(settings.published_on or asked.host)
        require_usable(settings)
    except SETTINGS_ERRORS as error:
        return _refuse(explain_settings(error))
    except (NotLoopback, KeysFileUnusable, SignOnUnusable, WebhooksFileUnusable) as error:
        return _refuse(str(error))
    with _shared_figures() if asked.workers > 1 else nullcontext():
        _serve(settings, asked)
    return 0


def _serve(settings: AppSettings, asked: argparse.Namespace) -> None:
    uvicorn.run(
        "app.main:create_process",
        factory=True,
        workers=asked.workers,
        timeout_worker_healthcheck=_SILENT_S,
        host=asked.host,
        port=asked.port,
        http=PatientProtocol,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=settings.keep_alive_s,
        timeout_graceful_shutdown=settings.wait_cap_s,
    )


@contextmanager
def _shared_figures() -> Iterator[None]:
    """A folder in which several processes count together, for GET /metrics of any of them."""
    with tempfile.TemporaryDirectory(prefix="promptsmooth-metrics-") as folder:
        os.environ[SHARED_FIGURES] = folder
        yield


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m app", description="The HTTP side.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", default=8000, type=int, help="port to listen on")
    parser.add_argument("--workers", default=1, type=int, help="processes that answer")
    return parser.parse_args()


def _refuse(sentence: str) -> int:
    sys.stderr.write(f"promptsmooth: {sentence}\n")
    return _REFUSED


if __name__ == "__main__":
    sys.exit(main())
