"""The key secret: one for all hosts, in a file that only workers read.

It stands apart from worker.sampling, so that the command line says what is wrong with it where no
noise can be drawn.
"""

import hashlib
import os
import secrets
from pathlib import Path

SECRET_BYTES = 32


class SecretUnusable(Exception):
    """The secret file cannot be read, or is no secret."""


def commitment(secret: bytes) -> str:
    """SHA-256 that binds the service to a secret before any image is seen, hex."""
    return hashlib.sha256(b"promptsmooth key commitment 1\0" + secret).hexdigest()


def create_secret(path: Path) -> None:
    """Makes a secret at `path` with mode 0600 where there is none; one that is there stays.

    Only who starts a host calls this. A job that made a new secret because a volume was not mounted
    would roll again without anybody noticing.

    Raises:
        SecretUnusable: none can be made there.
    """
    if not path.exists():
        _create(path)


def load_secret(path: Path) -> bytes:
    """The secret at `path`, 32 bytes or more.

    Raises:
        SecretUnusable: it is missing, unreadable or too short, with what to do about it.
    """
    try:
        secret = path.read_bytes()
    except FileNotFoundError:
        raise SecretUnusable(
            f"the key secret {path} is missing: restore it from the backup; "
            "a host that starts without one makes a new one"
        ) from None
    except OSError as error:
        raise SecretUnusable(
            f"the key secret {path} cannot be read ({error.strerror}): "
            "let the worker's user own it, or point PROMPTSMOOTH_SECRET_FILE elsewhere"
        ) from error
    if len(secret) < SECRET_BYTES:
        raise SecretUnusable(
            f"the key secret {path} holds {len(secret)} bytes, at least {SECRET_BYTES} are needed: "
            "restore it from the backup, or delete it to make a new one"
        )
    return secret


def _create(path: Path) -> None:
    """Writes a new secret beside `path`, then links it there: whoever comes first wins."""
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_bytes(SECRET_BYTES))
            os.fsync(file.fileno())
        try:
            os.link(fresh, path)
        except FileExistsError:
            pass  # another worker of this host was first; both use its secret
        finally:
            fresh.unlink()
    except OSError as error:
        raise SecretUnusable(
            f"no key secret could be made at {path} ({error.strerror}): "
            "point PROMPTSMOOTH_SECRET_FILE to a folder the worker may write to"
        ) from error
