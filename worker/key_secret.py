"""The key secret: one for all hosts, in a file that only workers read.

The module is separate from worker.sampling, so that the command line can report a problem with the
secret even on a machine that cannot draw noise.
"""

import hashlib
import os
import secrets
from pathlib import Path

SECRET_BYTES = 32


class SecretUnusable(Exception):
    """The secret file cannot be read or made, or does not hold a secret."""


def commitment(secret: bytes) -> str:
    """The SHA-256, in hexadecimal, that binds the service to a secret before it sees any image."""
    return hashlib.sha256(b"promptsmooth key commitment 1\0" + secret).hexdigest()


def create_secret(path: Path) -> None:
    """Makes a secret at `path` with mode 0600, unless the file exists.

    Only the start of a host calls this. A job that made a new secret, because a volume was not
    mounted, would re-roll without anybody noticing.

    Raises:
        SecretUnusable: no secret can be made there.
    """
    if not path.exists():
        _create(path)


def load_secret(path: Path) -> bytes:
    """The secret at `path`, 32 bytes or more.

    Raises:
        SecretUnusable: the secret is missing, unreadable or too short. The message says what to do.
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
            "make the worker's user its owner, or point PROMPTSMOOTH_SECRET_FILE elsewhere"
        ) from error
    if len(secret) < SECRET_BYTES:
        raise SecretUnusable(
            f"the key secret {path} holds {len(secret)} bytes, but at least {SECRET_BYTES} are "
            "needed: restore it from the backup, or delete it to make a new one"
        )
    return secret


def _create(path: Path) -> None:
    """Writes a new secret beside `path`, then links it there. The first process to link wins."""
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_bytes(SECRET_BYTES))
            os.fsync(file.fileno())
        try:
            os.link(fresh, path)
        except FileExistsError:
            pass  # another process was first; both use its secret
        finally:
            fresh.unlink()
    except OSError as error:
        raise SecretUnusable(
            f"no key secret could be made at {path} ({error.strerror}): "
            "point PROMPTSMOOTH_SECRET_FILE to a file in a folder that the worker may write to"
        ) from error
