"""Prepared images in Redis, by the digest of their integers, with a time to live.

An image is kept as long as its jobs until they have ended, and then as long as the settings say.
"""

import numpy as np
from redis import Redis
from redis.client import Pipeline

from worker.contract import LEARNING_QUEUE_NAME, QUEUE_NAME, InputImage
from worker.contract.image import Image, image_sha256, require_prepared
from worker.store import keyspace


class ImageExpired(LookupError):
    """The prepared image is no longer stored."""


class ImageDamaged(ValueError):
    """Stored bytes do not have the digest they are stored under."""


def put_image(redis: "Redis | Pipeline", sha256: str, image: Image, *, ttl_s: int) -> None:
    """Stores a prepared image under its digest; storing it again renews its time to live.

    The digest is the one that travels beside the image; `get_image` checks it.
    """
    require_prepared(image)
    redis.set(keyspace.image(sha256), np.ascontiguousarray(image).tobytes(), ex=ttl_s)


_LET_GO = """
for _, holder in ipairs(redis.call('SMEMBERS', KEYS[2])) do
  local id = string.match(holder, '([^:]+):job$')
  if id and (redis.call('ZSCORE', KEYS[3], id) or redis.call('ZSCORE', KEYS[4], id)) then
    return 0
  end
end
if redis.call('TTL', KEYS[1]) <= tonumber(ARGV[1]) then return 0 end
return redis.call('EXPIRE', KEYS[1], ARGV[1])
"""


def let_go(redis: Redis, sha256: str, *, ttl_s: int) -> bool:
    """Shortens an image's time to live to `ttl_s` if all its jobs have ended; whether it did."""
    keys = (
        keyspace.image(sha256),
        keyspace.image_holders(sha256),
        keyspace.accepted(QUEUE_NAME),
        keyspace.accepted(LEARNING_QUEUE_NAME),
    )
    return bool(redis.eval(_LET_GO, len(keys), *keys, ttl_s))


def get_input(redis: Redis, described: InputImage) -> Image:
    """The image that a request describes. Errors as `get_image`."""
    return get_image(redis, described.sha256, height=described.height, width=described.width)


def get_image(redis: Redis, sha256: str, *, height: int, width: int) -> Image:
    """The image (3, height, width) stored under a digest.

    Raises:
        ImageExpired: its time to live has passed.
        ImageDamaged: the bytes are not those of that digest.
    """
    data = redis.get(keyspace.image(sha256))
    if data is None:
        raise ImageExpired("the prepared image is no longer stored; send the image again")
    if not isinstance(data, bytes) or len(data) != 3 * height * width:
        raise ImageDamaged("the stored image has another size than its job says")
    image = np.frombuffer(data, dtype=np.uint8).reshape(3, height, width)
    if image_sha256(image) != sha256:
        raise ImageDamaged("the stored image does not have the digest of its job")
    return image
