"""A backup: our keys in Redis, with the files that belong to them, and back.

RQ's keys are not among them: the janitor makes them anew.

One line a key: its name, type, time to live and content, base64 where it is bytes. Each key is read
at one moment, and keys of one certification not all at the same. So the index of what was accepted
is read last: a job that was accepted meanwhile is in it without its record, and the janitor drops
it; what was accepted before is complete.
"""

import base64
import gzip
import hashlib
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError
from redis import Redis
from redis.client import Pipeline

from worker.contract import Contract
from worker.key_secret import commitment, load_secret
from worker.store import hosts as hosts_store
from worker.store import keyspace
from worker.store.connection import as_text

DATA, MANIFEST, SECRET = "redis.jsonl.gz", "manifest.json", "key-secret"  # a name
_AT_ONCE = 500
# What speaks of this moment alone: hosts, runs, shared ranges, locks, drain requests, queues.
_LEFT_OUT = (
    keyspace.WORKERS,
    f"{keyspace.PREFIX}:worker:",
    f"{keyspace.PREFIX}:maintenance",
    f"{keyspace.PREFIX}:suspects:",
    f"{keyspace.PREFIX}:waiting:",
    f"{keyspace.PREFIX}:bell:",
    f"{keyspace.PREFIX}:turns:",
    keyspace.DRAIN,
    keyspace.RESTORING,
)
_LAST = f"{keyspace.PREFIX}:accepted:"


class BackupUnusable(ValueError):
    """The backup cannot be made or restored; the sentence says why."""


class BackupManifest(Contract):
    """What a backup holds, and the digests of its files."""

    schema_version: Literal[1] = 1
    made_at: datetime
    keys: int
    key_commitment: str
    files: dict[str, str]


class StoredKey(Contract):
    """One key: `content` as its type has it, members and values in base64."""

    name: str
    kind: Literal["string", "hash", "set", "zset", "list"]
    ttl_ms: int
    content: Any


def make_backup(
    redis: Redis, folder: Path, beside: Mapping[str, Path | bytes] | None = None
) -> BackupManifest:
    """Writes a backup into a folder that is empty or not there.

    Args:
        redis: what is backed up.
        folder: where to; readable by its owner alone.
        beside: what else belongs to it, by its name in the backup: a file, a folder or bytes. What
            does not exist is left out.

    Raises:
        BackupUnusable: the folder holds something already.
    """
    if folder.exists() and any(folder.iterdir()):
        raise BackupUnusable(f"{folder} is not empty; name a new folder")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    number = _write_keys(redis, folder / DATA)
    names = [DATA]
    for name, content in (beside or {}).items():  # after Redis, which knows of no later entry
        names += _write_beside(folder, name, content)
    manifest = BackupManifest(
        made_at=datetime.now(UTC),
        keys=number,
        key_commitment=as_text(redis.get(keyspace.KEY_COMMITMENT) or b""),
        files={name: _digest(folder / name) for name in names},
    )
    _write_private(folder / MANIFEST, manifest.model_dump_json(indent=2).encode() + b"\n")
    return manifest


def _write_keys(redis: Redis, path: Path) -> int:
    path.touch(mode=0o600)
    number = 0
    with gzip.open(path, "wt", encoding="utf-8", compresslevel=3) as file:
        for stored in _read_keys(redis):
            file.write(stored.model_dump_json() + "\n")
            number += 1
    return number


def _write_beside(folder: Path, name: str, content: Path | bytes) -> Iterator[str]:
    """Writes a file, or the files in a folder and below it; yields their names in the backup."""
    if isinstance(content, Path) and content.is_dir():
        for file in sorted(content.iterdir()):
            if not file.name.startswith("."):
                yield from _write_beside(folder, f"{name}/{file.name}", file)
    elif isinstance(content, bytes) or content.is_file():
        _write_private(
            folder / name, content if isinstance(content, bytes) else content.read_bytes()
        )
        yield name


def _write_private(path: Path, content: bytes) -> None:
    """Writes a file that its owner alone can read."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.touch(mode=0o600)
    path.write_bytes(content)


def _read_keys(redis: Redis) -> Iterator[StoredKey]:
    last: list[str] = []
    for key in redis.scan_iter(f"{keyspace.PREFIX}:*", count=_AT_ONCE):
        name = as_text(key)
        if name.startswith(_LAST):
            last.append(name)
        elif not _is_left_out(name) and (stored := _read(redis, name)):
            yield stored
    yield from (stored for name in last if (stored := _read(redis, name)))


def _is_left_out(name: str) -> bool:
    parts = name.split(":")
    return name.startswith(_LEFT_OUT) or "ranges" in parts or parts[-1] == "run"


_READERS: dict[str, Callable[[Any, str], Any]] = {
    "string": lambda p, name: p.get(name),
    "hash": lambda p, name: p.hgetall(name),
    "set": lambda p, name: p.smembers(name),
    "zset": lambda p, name: p.zrange(name, 0, -1, withscores=True),
    "list": lambda p, name: p.lrange(name, 0, -1),
}


def _read(redis: Redis, name: str) -> StoredKey | None:
    """A key at one moment; None when it has expired meanwhile."""
    kind = as_text(redis.type(name))
    if kind not in _READERS:
        return None
    with redis.pipeline() as pipeline:
        _READERS[kind](pipeline, name)
        pipeline.pttl(name)
        value, ttl_ms = pipeline.execute()
    if ttl_ms == -2:
        return None
    fields = {"name": name, "kind": kind, "ttl_ms": ttl_ms, "content": _encode(kind, value)}
    return StoredKey.model_validate(fields)


def _encode(kind: str, value: Any) -> Any:
    match kind:
        case "string":
            return _b64(value)
        case "hash":
            return [[_b64(name), _b64(one)] for name, one in sorted(value.items())]
        case "zset":
            return [[_b64(member), score] for member, score in value]
        case "set":
            return sorted(map(_b64, value))
        case _:
            return list(map(_b64, value))


def read_manifest(folder: Path) -> BackupManifest:
    """The manifest of a backup whose files are the ones it names.

    Raises:
        BackupUnusable: there is none, or a file is missing or another one.
    """
    try:
        manifest = BackupManifest.model_validate_json((folder / MANIFEST).read_bytes())
    except (OSError, ValidationError):
        raise BackupUnusable(f"{folder} holds no backup that this release can read") from None
    for name, digest in manifest.files.items():
        path = folder / name
        if not path.is_file() or _digest(path) != digest:
            raise BackupUnusable(f"{name} is missing, or is not the file that was backed up")
    return manifest


def restore_backup(redis: Redis, folder: Path, *, over: bool = False) -> int:
    """Puts the keys of a backup into Redis; times to live go on from when it was made.

    Args:
        redis: where to, empty of our keys and RQ's.
        folder: the backup.
        over: begin by removing our keys and RQ's where there are some.

    Until all of them are there, `keyspace.RESTORING` is too: worker hosts do not start on a part.

    Raises:
        BackupUnusable: Redis holds something and `over` is False, a worker host uses it, or the
            backup is damaged.
    """
    manifest = read_manifest(folder)
    if hosts := hosts_store.list_workers(redis):
        raise BackupUnusable(
            f"the worker host {hosts[0].name} uses this Redis: stop the service, then restore"
        )
    if next(iter(_list_ours(redis)), None) is not None:
        if not over:
            raise BackupUnusable("this Redis holds jobs already; name an empty one, or --over")
        redis.set(keyspace.RESTORING, "1")  # before anything goes
        for key in _list_ours(redis):
            if key != keyspace.RESTORING.encode():
                redis.delete(key)
    redis.set(keyspace.RESTORING, "1")
    age_ms = int((datetime.now(UTC) - manifest.made_at).total_seconds() * 1000)
    number = 0
    with gzip.open(folder / DATA, "rt", encoding="utf-8") as file:
        for line in file:
            stored = StoredKey.model_validate_json(line)
            if stored.ttl_ms < 0 or stored.ttl_ms > age_ms:
                _put(redis, stored, age_ms)
                number += 1
    redis.delete(keyspace.RESTORING)
    return number


def require_secret(folder: Path, path: Path) -> None:
    """Passes unless another key secret lies at `path` than that of a backup.

    Raises:
        BackupUnusable: one does: nothing of the backup could be continued with it.
    """
    wanted = read_manifest(folder).key_commitment
    if path.exists() and wanted not in ("", commitment(load_secret(path))):
        raise BackupUnusable(
            f"the key secret {path} is not the one of the backup: move it away; where the backup "
            "does not hold its own, put that there"
        )


def restore_beside(folder: Path, places: Mapping[str, Path]) -> tuple[str, ...]:
    """Puts the files of a backup to their places; returns the names of what was put.

    What is there already stays: keys revoked since the backup stay revoked.

    Args:
        folder: the backup.
        places: where each belongs, by its name in the backup.
    """
    names = read_manifest(folder).files
    put = []
    for name, place in places.items():
        files = [one for one in names if one == name or one.startswith(f"{name}/")]
        if files and not (any(place.iterdir()) if place.is_dir() else place.exists()):
            for one in files:
                target = place if one == name else place / Path(one).relative_to(name)
                _write_private(target, (folder / one).read_bytes())
            put.append(name)
    return tuple(put)


def _list_ours(redis: Redis) -> Iterator[bytes]:
    for pattern in (f"{keyspace.PREFIX}:*", "rq:*"):
        yield from redis.scan_iter(pattern, count=_AT_ONCE)


def _put(redis: Redis, stored: StoredKey, age_ms: int) -> None:
    with redis.pipeline() as pipeline:
        pipeline.delete(stored.name)
        _put_content(pipeline, stored)
        if stored.ttl_ms > 0:
            pipeline.pexpire(stored.name, stored.ttl_ms - age_ms)
        pipeline.execute()


def _put_content(pipeline: Pipeline, stored: StoredKey) -> None:
    name, content = stored.name, stored.content
    match stored.kind:
        case "string":
            pipeline.set(name, _bytes(content))
        case "hash":
            pipeline.hset(name, mapping={_bytes(field): _bytes(one) for field, one in content})
        case "set":
            pipeline.sadd(name, *map(_bytes, content))
        case "zset":
            pipeline.zadd(name, {_bytes(member): score for member, score in content})
        case "list":
            pipeline.rpush(name, *map(_bytes, content))


def _b64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
