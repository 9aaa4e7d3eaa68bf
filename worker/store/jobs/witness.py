"""The witness of a certification in Redis: its result and the images found, as long as that lasts.

Everything is in one hash, which expires with the result of the certification and is purged with it.
"""

from collections.abc import Mapping

import numpy as np
from pydantic import TypeAdapter
from redis import Redis

from worker.contract.image import Image
from worker.contract.witness import FinishedWitness, WitnessResult
from worker.store import keyspace
from worker.store.counters import count_event
from worker.store.jobs.damaged import parse_record

_RESULT: TypeAdapter[WitnessResult] = TypeAdapter(WitnessResult)
_FIELD = "result"

_PUT = """
local left = redis.call('TTL', KEYS[2])
if left < 1 then return 0 end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], unpack(ARGV))
redis.call('EXPIRE', KEYS[1], left)
return 1
"""


def put_witness(
    redis: Redis, certification_id: str, result: WitnessResult, images: Mapping[str, Image]
) -> bool:
    """Stores a witness with its images, by digest. Returns whether the certification is there.

    One that was purged or has expired meanwhile keeps nothing.
    """
    pixels = {
        f"image:{sha256}": np.ascontiguousarray(image).tobytes() for sha256, image in images.items()
    }
    fields = {_FIELD: result.model_dump_json().encode(), **pixels}
    flat = [part for pair in fields.items() for part in pair]
    keys = (keyspace.witness(certification_id), keyspace.result(certification_id))
    stored = bool(redis.eval(_PUT, len(keys), *keys, *flat))
    if stored and isinstance(result, FinishedWitness) and result.alarm:
        count_event(redis, "witness_alarm")
    return stored


def find_witness(redis: Redis, certification_id: str) -> WitnessResult | None:
    """The witness of a certification, or None while there is none.

    Raises:
        RecordDamaged: it cannot be read.
    """
    data = redis.hget(keyspace.witness(certification_id), _FIELD)
    if data is None:
        return None
    return parse_record(_RESULT.validate_json, data, certification_id, "witness")


def has_witness(redis: Redis, certification_id: str) -> bool:
    """Whether a witness is stored, or that it failed; it may be unreadable."""
    return bool(redis.hexists(keyspace.witness(certification_id), _FIELD))


def find_image(
    redis: Redis, certification_id: str, sha256: str, *, height: int, width: int
) -> Image | None:
    """One of the images of a witness, uint8 (3, height, width), or None."""
    data = redis.hget(keyspace.witness(certification_id), f"image:{sha256}")
    if not isinstance(data, bytes) or len(data) != 3 * height * width:
        return None
    return np.frombuffer(data, dtype=np.uint8).reshape(3, height, width)


def forget_witness(redis: Redis, certification_id: str) -> None:
    """Removes a witness, so that it can be looked for again."""
    redis.delete(keyspace.witness(certification_id))


def is_asked(redis: Redis, certification_id: str) -> bool:
    """Whether somebody asked for a witness."""
    return bool(redis.exists(keyspace.witness_asked(certification_id)))
