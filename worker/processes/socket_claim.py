"""Claims an engine socket for one worker host: a second host would take it from the first."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class SocketTaken(Exception):
    """Another worker host uses the socket. The message says what to do."""


@contextmanager
def claim_socket(path: Path) -> Iterator[None]:
    """Holds the engine socket at `path` until the context or the process ends, however it ends.

    Raises:
        SocketTaken: another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with path.with_suffix(".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SocketTaken(
                f"another worker host uses the engine socket {path}: stop it, or give this one its "
                "own folder (PROMPTSMOOTH_DATA_DIR) or socket (PROMPTSMOOTH_ENGINE_SOCKET)"
            ) from None
        yield
