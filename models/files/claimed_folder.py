"""A temporary folder that belongs to a living process: others remove what dead ones left."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def claim_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """A new folder whose name begins with `prefix`; it goes when the block ends, however it ends.

    The process holds a lock on it, which ends with the process, whatever ends that. So a folder of
    the same kind (up to the first dash of the prefix) that nobody holds was left behind, and is
    removed here first. Where the file system knows no locks, nothing of others is removed.
    """
    with _locked(parent):  # so that nobody finds the new folder before it is held
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
def _locked(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _try_lock(folder: Path) -> int | None:
    """A descriptor that holds the folder until it is closed; None where another process does."""
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
