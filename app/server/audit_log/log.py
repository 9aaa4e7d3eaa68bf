"""The log file: one line of JSON per entry, each with the digest of the line before it.

An entry is on disk before its action takes place, and is never changed. Altering, removing or
inserting a line breaks the chain at that place. Lines cut off at the end are found by comparing
with a head noted elsewhere. Entries hold no patient data: only ids, digests and numbers.

Several processes may write to one folder, because each write holds a lock on it. A line that a
crash left half-written was never confirmed to anybody; the next writer removes it and records that
it did.
"""

import fcntl
import hashlib
import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from shutil import disk_usage
from typing import Any

from models.files.untrusted_text import parse_json
from models.files.whole_file import sync

_NOTHING = "0" * 64
_LOCK_NAME = ".lock"
_TAIL_BYTES = 1 << 20
AUDIT_LOG_NAME = "audit"
"""Its subfolder in a data folder."""
MAX_LINE_BYTES = 64 * 1024


class AuditLogUnavailable(OSError):
    """An entry could not be written, so its action did not take place."""


@dataclass(frozen=True)
class Head:
    """The last entry: its number, and the digest that vouches for all entries up to it."""

    seq: int
    sha256: str
    chain: str

    def __str__(self) -> str:
        return f"{self.seq}:{self.sha256}"


@dataclass(frozen=True)
class _Tail:
    """What a writer needs to know about a folder: the last file, its size, and the head."""

    path: Path
    size: int
    head: Head


class AuditLog:
    """Writes entries to a folder.

    Args:
        folder: created if missing; readable by the service only.
        max_bytes: a file of this size is followed by another, and the chain continues.

    Attributes:
        on_head: receives each new head, to note it elsewhere. Its errors are ignored.
    """

    def __init__(self, folder: Path, *, max_bytes: int) -> None:
        self.folder, self._max_bytes = folder, max_bytes
        self._tail: _Tail | None = None
        self.on_head: Callable[[Head], object] | None = None

    def record(self, action: str, **fields: Any) -> Head:
        """Writes an entry. It is on disk when this returns.

        Raises:
            AuditLogUnavailable: the entry could not be written.
        """
        try:
            with self._lock():
                tail, cut = self._find_tail()
                if cut is not None:
                    tail = self._append(tail, "audit-log.recovered", cut)
                self._tail = self._append(tail, action, fields)
                head = self._tail.head
                self._note(head)
                return head
        except OSError as error:
            self._tail = None
            raise AuditLogUnavailable(error.errno, "the audit log cannot be written") from error

    def _note(self, head: Head) -> None:
        if self.on_head is not None:
            with suppress(Exception):  # the entry stands; the next head replaces this one
                self.on_head(head)

    @contextmanager
    def _lock(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (self.folder / _LOCK_NAME).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _find_tail(self) -> tuple[_Tail, dict[str, Any] | None]:
        """The current end of the log, and a description of the half-written line removed there."""
        files = list_files(self.folder)
        if not files:
            chain = secrets.token_hex(8)
            return _Tail(self.folder / _name(1), 0, Head(0, _NOTHING, chain)), None
        path = files[-1]
        size = path.stat().st_size
        if self._tail is not None and (self._tail.path, self._tail.size) == (path, size):
            return self._tail, None
        return _repair(files)

    def _append(self, tail: _Tail, action: str, fields: Mapping[str, Any]) -> _Tail:
        seq = tail.head.seq + 1
        entry = {
            "seq": seq,
            "previous": tail.head.sha256,
            "chain": tail.head.chain,
            "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "action": action,
            **fields,
        }
        line = json.dumps(entry, ensure_ascii=True, separators=(",", ":")).encode()
        if len(line) > MAX_LINE_BYTES:
            raise ValueError(f"an entry has at most {MAX_LINE_BYTES} bytes, got {len(line)}")
        full = tail.size > 0 and tail.size + len(line) >= self._max_bytes
        path, start = (self.folder / _name(seq), 0) if full else (tail.path, tail.size)
        _write(path, line + b"\n", start)
        head = Head(seq, hashlib.sha256(line).hexdigest(), tail.head.chain)
        return _Tail(path, start + len(line) + 1, head)


def find_fault(folder: Path) -> str | None:
    """Why an entry could not be written now, or None. Found without writing."""
    place = next(one for one in (folder, *folder.parents) if one.exists())
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        return "its folder cannot be written to"
    if disk_usage(place).free < MAX_LINE_BYTES:
        return "its disk is full"
    return None


def list_files(folder: Path) -> list[Path]:
    """The files of a log, oldest first."""
    return sorted(folder.glob("audit-*.jsonl"))


def _name(seq: int) -> str:
    return f"audit-{seq:012}.jsonl"


def _write(path: Path, data: bytes, start: int) -> None:
    """Appends to a file that ends at `start`. The data is on disk, or the file is unchanged."""
    new = not path.exists()
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        try:
            written = os.write(descriptor, data)
            if written < len(data):
                raise OSError(28, "no space left for a whole line")
            os.fsync(descriptor)
        except OSError:
            with suppress(OSError):
                os.ftruncate(descriptor, start)
            raise
    finally:
        os.close(descriptor)
    if new:
        sync(path.parent)


def _repair(files: list[Path]) -> tuple[_Tail, dict[str, Any] | None]:
    """The end of a log. A half-written last line is cut off and described."""
    path = files[-1]
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - _TAIL_BYTES))
        data = file.read()
    whole = data.rfind(b"\n") + 1
    torn = data[whole:]
    if torn:
        size -= len(torn)
        os.truncate(path, size)
    if size == 0:  # the file held nothing but the half-written line
        head = _head_of(files[-2]) if len(files) > 1 else Head(0, _NOTHING, secrets.token_hex(8))
        tail = _Tail(path, 0, head)
    else:
        tail = _Tail(path, size, _parse_head(data[:whole]))
    cut = {"cut_bytes": len(torn), "cut_sha256": hashlib.sha256(torn).hexdigest()} if torn else None
    return tail, cut


def _head_of(path: Path) -> Head:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        return _parse_head(file.read())


def _parse_head(data: bytes) -> Head:
    """The head after the last whole line.

    Raises:
        OSError: the line is not an entry; something else wrote to the file.
    """
    line = data.rstrip(b"\n").rpartition(b"\n")[2]
    try:
        entry = parse_json(line)
        return Head(int(entry["seq"]), hashlib.sha256(line).hexdigest(), str(entry["chain"]))
    except (ValueError, KeyError, TypeError):
        raise OSError(5, "the last line of the audit log is not an entry") from None
