"""Writes a file whole or not at all."""

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def write_whole(path: Path, content: bytes, *, mode: int | None = None) -> None:
    """Writes the whole file, with this mode if one is given, or leaves the old file in place.

    Where a mode is given, nobody else can open the file before it has that mode.
    """
    with replace_whole(path, created=0o666 if mode is None else 0o600) as begun:
        begun.write_bytes(content)
        if mode is not None:
            begun.chmod(mode)  # whatever the umask is


def create_whole(path: Path, content: bytes) -> bool:
    """Writes the whole file unless there is one. Returns whether this call made it."""
    with _begin(path, 0o666) as begun:
        begun.write_bytes(content)
        sync(begun)
        try:
            path.hardlink_to(begun)
        except FileExistsError:
            return False
    return True


@contextmanager
def replace_whole(path: Path, *, created: int = 0o666) -> Iterator[Path]:
    """Yields a file beside `path` that replaces it if the block does not raise.

    The file is created with the mode `created`, less the umask.
    """
    with _begin(path, created) as begun:
        yield begun
        sync(begun)
        begun.replace(path)


@contextmanager
def _begin(path: Path, created: int) -> Iterator[Path]:
    """Yields a file beside `path`, and removes it if it is still there at the end.

    The writer holds a lock on the new file, and the lock ends with the process even if the process
    is killed. An unlocked file is therefore a leftover, and the next writer removes it.
    """
    _sweep(path)
    writer = f"{os.getpid()}-{threading.get_ident()}"  # two threads may write one file at once
    begun = path.with_name(f".{path.name}.{writer}.tmp")
    create = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    with os.fdopen(os.open(begun, create, created), "wb") as held:
        with suppress(OSError):  # on a file system without locks, `_sweep` removes nothing
            fcntl.flock(held, fcntl.LOCK_EX)
        try:
            yield begun
        finally:
            begun.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sweep(path: Path) -> None:
    """Removes the files that killed writers of `path` left behind."""
    name = f".{path.name}."
    for left in path.parent.glob(".*.tmp"):
        if left.name.startswith(name):
            with suppress(OSError), left.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                left.unlink()
