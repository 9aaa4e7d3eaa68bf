"""Checks that an audit log is whole: no line altered, moved or missing."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.files.audit_log import MAX_LINE_BYTES, Head
from models.files.untrusted_text import parse_json


@dataclass(frozen=True)
class Broken:
    """The first faulty line, and what is wrong with it."""

    path: Path
    line: int
    sentence: str


@dataclass(frozen=True)
class Whole:
    """The log is whole. `first` is the number of the first entry in the files that were read."""

    first: int
    head: Head


INCOMPLETE = "the line is incomplete"


def find_chain(path: Path) -> str | None:
    """The id of the log that a file belongs to, or None if its first line is not an entry."""
    for _, line in _read(path):
        found = _check(line, None)
        return None if isinstance(found, str) else found.chain
    return None


def check_files(paths: Sequence[Path]) -> Whole | Broken:
    """Checks the files of one log, given oldest first.

    Earlier files may have been archived. So unless the first line is entry 1, its account of what
    came before it is not checked.
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
        return Broken(paths[-1], 0, "the log has no entries")
    return Whole(first, head)


def find_entry(paths: Sequence[Path], seq: int) -> str | None:
    """The digest of an entry, or None if the entry is not in these files."""
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
    """The head after this line, or a sentence that says what is wrong with the line."""
    if not line.endswith(b"\n"):
        return INCOMPLETE
    text = line[:-1]
    try:
        entry: dict[str, Any] = parse_json(text)
        seq, previous, chain = int(entry["seq"]), str(entry["previous"]), str(entry["chain"])
    except (ValueError, KeyError, TypeError):
        return "the line is not an entry"
    if before is None:
        if seq == 1 and set(previous) != {"0"}:
            return "entry 1 names the digest of an earlier entry, but it is the first"
    elif seq != before.seq + 1:
        return f"expected entry {before.seq + 1}, found entry {seq}"
    elif previous != before.sha256:
        return f"entry {seq} does not follow this entry {before.seq}: their digests differ"
    elif chain != before.chain:
        return f"entry {seq} belongs to another log"
    return Head(seq, hashlib.sha256(text).hexdigest(), chain)
