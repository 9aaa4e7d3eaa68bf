"""The HTTP side as a process: python -m app [--host --port].

Containers and `promptsmooth up` run it. What stands here and not in the app is what only a server
can do: where it listens, how long a client may take for its headers, and that it refuses to listen
to everyone without keys.
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
from worker.settings import SETTINGS_ERRORS, explain_settings

_REFUSED = 2


def main() -> int:
    """Serves until it is told to end; the exit status."""
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
    """JSON lines for uvicorn's too. What the form parser says names bytes of what was sent."""
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
