"""Writing a file whole or not at all."""

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def write_whole(path: Path, content: bytes, *, mode: int | None = None) -> None:
    """Puts a whole file in place, or leaves what was there; with this mode, if one is given.

    Where a mode is given, nobody else can open the file before it has that mode.
    """
    with replace_whole(path, created=0o666 if mode is None else 0o600) as begun:
        begun.write_bytes(content)
        if mode is not None:
            begun.chmod(mode)  # whatever the umask is


@contextmanager
def replace_whole(path: Path, *, created: int = 0o666) -> Iterator[Path]:
    """A file beside `path` to write to, which takes its place if the block raises nothing.

    It is created with the mode `created`, less the umask.

    A writer holds a lock on its file, which ends with its process, whatever ends that. So one that
    nobody holds was left by a writer that was killed, and is removed by the next one.
    """
    _sweep(path)
    writer = f"{os.getpid()}-{threading.get_ident()}"  # two may write the same file at a time
    begun = path.with_name(f".{path.name}.{writer}.tmp")
    create = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    with os.fdopen(os.open(begun, create, created), "wb") as held:
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
