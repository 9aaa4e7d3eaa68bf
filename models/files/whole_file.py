"""Writing a file whole or not at all."""

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def write_whole(path: Path, content: bytes, *, mode: int | None = None) -> None:
    """Puts a whole file in place, or leaves what was there; with this mode, if one is given."""
    with replace_whole(path) as begun:
        if mode is not None:
            begun.chmod(mode)
        begun.write_bytes(content)


@contextmanager
def replace_whole(path: Path) -> Iterator[Path]:
    """A file beside `path` to write to, which takes its place if the block raises nothing.

    A writer holds a lock on its file, which ends with its process, whatever ends that. So one that
    nobody holds was left by a writer that was killed, and is removed by the next one.
    """
    _sweep(path)
    writer = f"{os.getpid()}-{threading.get_ident()}"  # two may write the same file at a time
    begun = path.with_name(f".{path.name}.{writer}.tmp")
    with begun.open("wb") as held:
        with suppress(OSError):  # a file system without locks, where nothing is swept either
            fcntl.flock(held, fcntl.LOCK_EX)
        try:
            yield begun
            with begun.open("rb") as stream:
                os.fsync(stream.fileno())
            begun.replace(path)
        finally:
            begun.unlink(missing_ok=True)


def _sweep(path: Path) -> None:
    """Removes what killed writers of `path` left."""
    name = f".{path.name}."
    for left in path.parent.glob(".*.tmp"):
        if left.name.startswith(name):
            with suppress(OSError), left.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                left.unlink()
