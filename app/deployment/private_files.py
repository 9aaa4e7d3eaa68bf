"""Files that are whole or not there, with the mode they are meant to have."""

import os
import secrets
from pathlib import Path


def write_whole(path: Path, content: bytes, *, mode: int) -> None:
    """Puts `content` at `path` in one step; nobody ever reads half of it."""
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
        os.fchmod(file.fileno(), mode)  # whatever the umask is
        os.fsync(file.fileno())
    fresh.replace(path)
