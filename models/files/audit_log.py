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
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
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


@dataclass
class _Entry:
    """What is to be recorded, and what became of it once that is known."""

    action: str
    fields: Mapping[str, Any]
    outcome: Head | Exception | None = None


_Line = tuple[_Entry, bytes, Head]


class AuditLog:
    """Writes entries to a folder.

    Args:
        folder: created if missing; readable by the service only.
        max_bytes: a file of this size is followed by another, and the chain continues.

    Attributes:
        on_head: receives the new head after each write, to note it elsewhere. Its errors are
            ignored.
    """

    def __init__(self, folder: Path, *, max_bytes: int) -> None:
        self.folder, self._max_bytes = folder, max_bytes
        self._tail: _Tail | None = None
        self._waiting: deque[_Entry] = deque()
        self._turn = threading.Lock()
        self.on_head: Callable[[Head], object] | None = None

    def record(self, action: str, **fields: Any) -> Head:
        """Writes an entry. It is on disk when this returns.

        Threads that record at the same time share one write to the disk.

        Raises:
            AuditLogUnavailable: the entry could not be written.
            ValueError: the entry is longer than a line may be.
        """
        entry = _Entry(action, fields)
        self._waiting.append(entry)
        with self._turn:
            if entry.outcome is None:
                self._write_waiting()
        if isinstance(entry.outcome, Head):
            return entry.outcome
        assert entry.outcome is not None, "whoever had the turn wrote it"
        raise entry.outcome

    def _write_waiting(self) -> None:
        """Writes what waits now, in the order in which it came."""
        entries: list[_Entry] = []
        try:
            with self._lock():
                entries += self._take_waiting()
                tail, cut = self._find_tail()
                if cut is not None:
                    tail = self._append(tail, [_Entry("audit-log.recovered", cut)])
                self._tail = self._append(tail, entries)
                self._note(self._tail.head)
        except OSError as error:
            self._tail = None
            for entry in entries + self._take_waiting():
                if entry.outcome is None:
                    said = "the audit log cannot be written"
                    entry.outcome = AuditLogUnavailable(error.errno, said)

    def _take_waiting(self) -> list[_Entry]:
        return [self._waiting.popleft() for _ in range(len(self._waiting))]

    def _note(self, head: Head) -> None:
        if self.on_head is not None:
            with suppress(Exception):  # the entries stand; the next head replaces this one
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

    def _append(self, tail: _Tail, entries: Sequence[_Entry]) -> _Tail:
        """Appends entries, in one write for each file that they reach. Gives each its outcome."""
        for place, group in self._place(tail, entries):
            data = b"".join(line for _, line, _ in group)
            _write(place.path, data, place.size)
            for entry, _, head in group:
                entry.outcome = head
            tail = _Tail(place.path, place.size + len(data), group[-1][2])
        return tail

    def _place(self, tail: _Tail, entries: Sequence[_Entry]) -> Iterator[tuple[_Tail, list[_Line]]]:
        """Which lines are written together, and after which end of a file."""
        head, size, group = tail.head, tail.size, list[_Line]()
        for entry in entries:
            try:
                line = _encode(head, entry)
            except (TypeError, ValueError) as error:
                entry.outcome = error
                continue
            if size > 0 and size + len(line) > self._max_bytes:
                if group:
                    yield tail, group
                tail, size, group = _Tail(self.folder / _name(head.seq + 1), 0, head), 0, []
            head = Head(head.seq + 1, hashlib.sha256(line[:-1]).hexdigest(), head.chain)
            group.append((entry, line, head))
            size += len(line)
        if group:
            yield tail, group


def _encode(head: Head, entry: _Entry) -> bytes:
    """The line of an entry that follows a head."""
    whole = {
        "seq": head.seq + 1,
        "previous": head.sha256,
        "chain": head.chain,
        "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "action": entry.action,
        **entry.fields,
    }
    line = json.dumps(whole, ensure_ascii=True, separators=(",", ":")).encode()
    if len(line) > MAX_LINE_BYTES:
        raise ValueError(f"an entry has at most {MAX_LINE_BYTES} bytes, got {len(line)}")
    return line + b"\n"


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
