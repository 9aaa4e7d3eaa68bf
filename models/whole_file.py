"""Writing a file whole or not at all."""

import os
from pathlib import Path


def write_whole(path: Path, content: bytes) -> None:
    """Puts a whole file in place, or leaves what was there."""
    begun = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with begun.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        begun.replace(path)
    finally:
        begun.unlink(missing_ok=True)
