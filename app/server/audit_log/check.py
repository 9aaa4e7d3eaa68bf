"""Whether an audit log is whole: every line in its place, none altered, none missing."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.server.audit_log.log import MAX_LINE_BYTES, Head
from models.files.untrusted_text import parse_json


@dataclass(frozen=True)
class Broken:
    """The first line that does not hold, and why."""

    path: Path
    line: int
    sentence: str


@dataclass(frozen=True)
class Whole:
    """Every line holds. `first` is the number of the first entry that was there to be read."""

    first: int
    head: Head


def check_files(paths: Sequence[Path]) -> Whole | Broken:
    """Reads the files of one log, the oldest first.

    The first line of the first file is taken at its word about what came before it, unless it is
    entry 1: earlier files may have been put elsewhere.
    """
    first: int | None = None
    head: Head | None = None
    for path in paths:
        for number, line in _read(path):
            found = _check(line, head)
            if isinstance(found, str):
                return Broken(path, number, found)
            head = found
            first = head.seq if first is None else first
    if head is None or first is None:
        return Broken(paths[-1], 0, "there is no entry")
    return Whole(first, head)


def find_entry(paths: Sequence[Path], seq: int) -> str | None:
    """The digest of an entry, or None where it is not there."""
    for path in paths:
        for _, line in _read(path):
            if line.startswith(b'{"seq":%d,' % seq):
                return hashlib.sha256(line.removesuffix(b"\n")).hexdigest()
    return None


def _read(path: Path) -> Iterator[tuple[int, bytes]]:
    with path.open("rb") as file:
        number = 0
        while line := file.readline(MAX_LINE_BYTES + 2):
            number += 1
            yield number, line


def _check(line: bytes, before: Head | None) -> Head | str:
    """The head that a line is, or what is wrong with it."""
    if not line.endswith(b"\n"):
        return "the line has no end"
    text = line[:-1]
    try:
        entry: dict[str, Any] = parse_json(text)
        seq, previous, chain = int(entry["seq"]), str(entry["previous"]), str(entry["chain"])
    except (ValueError, KeyError, TypeError):
        return "the line is no entry"
    if before is None:
        if seq == 1 and set(previous) != {"0"}:
            return "entry 1 has nothing before it, yet it names a digest"
    elif seq != before.seq + 1:
        return f"expected entry {before.seq + 1}, found entry {seq}"
    elif previous != before.sha256:
        return f"entry {before.seq} is not the one that entry {seq} was written after"
    elif chain != before.chain:
        return f"entry {seq} is of another log"
    return Head(seq, hashlib.sha256(text).hexdigest(), chain)
