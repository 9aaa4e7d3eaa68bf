"""The files of the frozen set, and what of them differs between two runs of the same code."""

import base64
import io
import json
import math
import re
import zlib
from pathlib import Path
from typing import Any

import torch
from redis import Redis

FOLDER = Path(__file__).parent / "samples"

# What is a matter of the machine or the moment, in JSON text. Everything else is compared.
VARIABLE = {
    "device": r'"device":"[^"]*"',
    "threads": r'"threads":\d+',
    "versions": r'"versions":\{[^{}]*\}',
    "seconds": r'"seconds":[0-9.e-]+',
    "loss": r'"loss":[0-9.e-]+',
    "accuracy": r'"accuracy":[0-9.e-]+',
    "updated_at": r'"updated_at":"[^"]*"',
    "at": r'"at":"[^"]*"',
    "chain": r'"chain":"[0-9a-f]{16}"',
    "previous": r'"previous":"(?!0{64})[0-9a-f]{64}"',  # the digest of a line with such fields
    "signature": r'"value":"[A-Za-z0-9+/]{86}=="',  # of a document with such fields
}
# Fields of hashes that are times.
TIMES = ("created_at", "enqueued_at")
# Sorted sets whose scores are times.
TIMED = re.compile(r"promptsmooth:accepted:|:leases$|:hosts$")
RUN_TOKEN = re.compile(r":run$")
LEARNING_CHECKPOINT = re.compile(r":learning:[0-9a-f]+:checkpoint$")
# The f of votes, and of counts that were shown: its identity names the machine.
OF_F = re.compile(r"(?<=^promptsmooth:votes:.{64}:)[0-9a-f]{64}(?=:)")
SHOWN = re.compile(r"^promptsmooth:shown:")
# RQ's names of jobs that count for others.
UUID = re.compile(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
# Drawn by whoever accepts something; left as they are where the frozen set fixes them.
IDS = (
    (re.compile(r"\b[0-9a-f]{64}\b"), "<sha256>"),
    (re.compile(r"\b[0-9a-f]{32}\b"), "<id>"),
    (UUID, "<uuid>"),
    (re.compile(r"zero-shot-[0-9a-f]{16}"), "zero-shot-<id>"),
    (re.compile(r"\d{4}-\d\d-\d\d(T[0-9:.]+Z)?"), "<time>"),
    (re.compile(r"audit-head:[0-9a-f]{16}$"), "audit-head:<chain>"),
    (re.compile(r"certificates:(certified|abstained)$"), "certificates:<outcome>"),  # by machine
)
# RQ's records of its own workers, and a key that one of two apps holds for a moment.
LEFT_OUT = re.compile(r"rq:worker|promptsmooth:audit-writer$")
_SHORT_S = (15, 30, 60)

Snapshot = dict[str, dict[str, Any]]


def read(name: str) -> str:
    """The text of a sample."""
    return read_bytes(name).decode()


def read_bytes(name: str) -> bytes:
    """The bytes of a sample."""
    return (FOLDER / name).read_bytes()


def write_all(samples: dict[str, bytes]) -> None:
    """Writes samples by their names."""
    for name, content in samples.items():
        path = FOLDER / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def list_names() -> set[str]:
    """The names of all samples."""
    return {str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*") if path.is_file()}


def to_json(value: Any) -> bytes:
    """The text of a sample that is a JSON value."""
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()


def settle(text: str) -> str:
    """JSON text without what is a matter of the machine or the moment."""
    text = UUID.sub("<uuid>", text)
    for name, pattern in VARIABLE.items():
        text = re.sub(pattern, f"<{name}>", text)
    return text


def hide_ids(text: str) -> str:
    """Text with every id, digest and time replaced by what it is."""
    for pattern, name in IDS:
        text = pattern.sub(name, text)
    return text


# --- Redis as a JSON value ---


def take_snapshot(redis: Redis) -> Snapshot:
    """Every key with its type, its time to live and its value."""
    keys = sorted(key.decode() for key in redis.scan_iter("*"))
    return {key: _describe(redis, key) for key in keys if not LEFT_OUT.match(key)}


def _describe(redis: Redis, key: str) -> dict[str, Any]:
    kind = redis.type(key).decode()
    return {"type": kind, "ttl_s": _class_of(redis.ttl(key)), "value": _READ[kind](redis, key)}


def _class_of(ttl_s: int) -> int | None:
    """A time to live as it was set, of which less than a minute has passed; None: for ever."""
    if ttl_s < 0:
        return None
    return next((s for s in _SHORT_S if ttl_s <= s), 60 * math.ceil(ttl_s / 60))


def encode(data: bytes) -> Any:
    """Bytes as text where they are text, else in base64."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = "\0"
    return text if text.isprintable() else {"base64": base64.b64encode(data).decode()}


def decode(value: Any) -> bytes:
    """The bytes that `encode` was given."""
    return value.encode() if isinstance(value, str) else base64.b64decode(value["base64"])


_READ = {
    "string": lambda redis, key: encode(redis.get(key)),
    "hash": lambda redis, key: {
        field.decode(): encode(value) for field, value in sorted(redis.hgetall(key).items())
    },
    "set": lambda redis, key: sorted(map(bytes.decode, redis.smembers(key))),
    "list": lambda redis, key: [encode(value) for value in redis.lrange(key, 0, -1)],
    "zset": lambda redis, key: [
        [member.decode(), score] for member, score in redis.zrange(key, 0, -1, withscores=True)
    ],
}


def restore(redis: Redis, snapshot: Snapshot) -> None:
    """Puts the keys of a snapshot into Redis, byte for byte as they were."""
    for key, entry in snapshot.items():
        _WRITE[entry["type"]](redis, key, entry["value"])
        if entry["ttl_s"] is not None:
            redis.expire(key, entry["ttl_s"])


_WRITE = {
    "string": lambda redis, key, value: redis.set(key, decode(value)),
    "hash": lambda redis, key, value: redis.hset(
        key, mapping={field: decode(one) for field, one in value.items()}
    ),
    "set": lambda redis, key, value: redis.sadd(key, *value),
    "list": lambda redis, key, value: redis.rpush(key, *map(decode, value)),
    "zset": lambda redis, key, value: redis.zadd(key, dict(value)),
}


def settle_snapshot(snapshot: Snapshot) -> Snapshot:
    """A snapshot without what is a matter of the machine or the moment."""
    return {
        OF_F.sub("<f>", UUID.sub("<uuid>", key)): entry | {"value": _settle_value(key, entry)}
        for key, entry in snapshot.items()
    }


def _settle_value(key: str, entry: dict[str, Any]) -> Any:
    value = entry["value"]
    if RUN_TOKEN.search(key):
        return "<token>"
    if SHOWN.search(key):
        return len(value)
    if LEARNING_CHECKPOINT.search(key):
        return _describe_checkpoint(decode(value))
    if TIMED.search(key):
        return [member for member, _ in value]
    if entry["type"] == "hash":
        return {field: _settle_field(field, one) for field, one in value.items()}
    return _settle_one(value)


def _describe_checkpoint(content: bytes) -> dict[str, Any]:
    """What a learning's checkpoint says and holds; its numbers are those of one machine."""
    found = torch.load(io.BytesIO(content), weights_only=True)
    said = {name: value for name, value in found.items() if isinstance(value, str)}
    return said | {"fields": sorted(found), "ctx": list(found["ctx"].shape)}


def _settle_field(field: str, value: Any) -> Any:
    if field in TIMES:
        return "<time>"
    return zlib.decompress(decode(value)).decode() if field == "data" else _settle_one(value)


def _settle_one(value: Any) -> Any:
    if isinstance(value, list):
        return [_settle_one(one) for one in value]
    return settle(value) if isinstance(value, str) else value


def list_kinds(snapshot: Snapshot) -> dict[str, str]:
    """The names of keys without their ids, each with its type, time to live and fields."""
    found: dict[str, set[str]] = {}
    for key, entry in snapshot.items():
        found.setdefault(hide_ids(key), set()).add(_kind(entry))
    return {name: " or ".join(sorted(kinds)) for name, kinds in sorted(found.items())}


def _kind(entry: dict[str, Any]) -> str:
    ttl = "for ever" if entry["ttl_s"] is None else f"{entry['ttl_s']} s"
    fields = sorted(map(hide_ids, entry["value"])) if entry["type"] == "hash" else ()
    return ", ".join((entry["type"], ttl, *fields))


def select(snapshot: Snapshot, pattern: str) -> Snapshot:
    """The keys that a pattern finds."""
    return {key: entry for key, entry in snapshot.items() if re.search(pattern, key)}
