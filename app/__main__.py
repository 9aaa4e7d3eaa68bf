"""Runs the HTTP server: python -m app [--host --port].

Containers and `promptsmooth up` start it. It does what only a server process can do: choose the
address, limit how long a client may take for its headers, and refuse to listen to everyone without
keys.
"""

import argparse
import logging
import sys

import uvicorn

from app.server.access.api_keys import KeysFileUnusable
from app.server.access.keyring import Keyring
from app.server.middleware.perimeter import NotLoopback, require_loopback
from app.server.middleware.protocol import create_protocol
from app.settings import AppSettings
from worker.processes.logs import configure_logging
from worker.processes.memory import return_large_blocks
from worker.settings import SETTINGS_ERRORS, explain_settings

_REFUSED = 2


def main() -> int:
    """Serves until it is stopped; returns the exit status."""
    asked = _parse()
    _configure_logging()
    try:
        settings = AppSettings()
        if not settings.open and not Keyring(settings.keys_file).required:
            require_loopback(settings.published_on or asked.host)
    except SETTINGS_ERRORS as error:
        return _refuse(explain_settings(error))
    except (NotLoopback, KeysFileUnusable) as error:
        return _refuse(str(error))
    return_large_blocks()
    uvicorn.run(
        "app.main:create_app",
        factory=True,
        host=asked.host,
        port=asked.port,
        http=create_protocol(header_timeout_s=settings.header_timeout_s),
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=settings.keep_alive_s,
        timeout_graceful_shutdown=settings.wait_cap_s,
    )
    return 0


def _configure_logging() -> None:
    """Logs JSON lines, uvicorn's too. The form parser is silenced because it quotes sent bytes."""
    configure_logging()
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m app", description="The HTTP side.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", default=8000, type=int, help="port to listen on")
    return parser.parse_args()


def _refuse(sentence: str) -> int:
    sys.stderr.write(f"promptsmooth: {sentence}\n")
    return _REFUSED


if __name__ == "__main__":
    sys.exit(main())
