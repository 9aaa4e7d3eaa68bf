"""Temporary folders, locked while their process lives and removed once it is dead."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def claim_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """Yields a new folder whose name starts with `prefix` and removes it when the block ends.

    The process holds a lock on the folder, and the lock ends with the process even if the process
    is killed. An unlocked folder of the same kind (the prefix up to its first dash) is therefore a
    leftover, and this call removes it first. On a file system without locks, it removes nothing.
    """
    with lock_folder(parent):  # so that no other process sees the new folder before it is locked
        _sweep(parent, prefix.partition("-")[0] + "-")
        folder = Path(tempfile.mkdtemp(dir=parent, prefix=prefix))
        held = _try_lock(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if held is not None:
            os.close(held)


def _sweep(parent: Path, kind: str) -> None:
    for folder in sorted(parent.glob(f"{kind}*")):
        held = _try_lock(folder) if folder.is_dir() and not folder.is_symlink() else None
        if held is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(held)


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Holds a folder: of those that lock it so, in whatever process, one at a time goes on.

    On a file system without locks on folders, nobody waits.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _try_lock(folder: Path) -> int | None:
    """Returns a descriptor that locks the folder until closed; None if it cannot be locked."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
