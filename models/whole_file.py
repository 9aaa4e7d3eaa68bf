"""Writing a file whole or not at all."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_whole(path: Path, content: bytes) -> None:
    """Puts a whole file in place, or leaves what was there."""
    with replace_whole(path) as begun:
        begun.write_bytes(content)


@contextmanager
def replace_whole(path: Path) -> Iterator[Path]:
    """A file beside `path` to write to, which takes its place if the block raises nothing."""
    writer = f"{os.getpid()}-{threading.get_ident()}"  # two may write the same file at a time
    begun = path.with_name(f".{path.name}.{writer}.tmp")
    try:
        yield begun
        with begun.open("rb") as stream:
            os.fsync(stream.fileno())
        begun.replace(path)
    finally:
        begun.unlink(missing_ok=True)
