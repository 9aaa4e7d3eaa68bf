"""Which vectors are a tuned prompt's, whatever they are called and however they were copied.

What a prompt depended on decides what a certificate covers (CERTIFICATE 5). So vectors count as
tuned that equal a tuned prompt's, also after rounding to float16, and those that lie around a tuned
prompt (`models.prompts.likeness`). Digests of tuned vectors are kept for ever; the vectors that
nearness needs, as long as the tuned prompt.
"""

from collections.abc import Iterator

from redis import Redis

from models.prompts.likeness import lies_around
from models.prompts.prompt import Prompt
from worker.contract.prompt import EncodedPrompt
from worker.store import keyspace
from worker.store.connection import as_text


def are_tuned(redis: Redis, prompt: Prompt) -> bool:
    """Whether the vectors of a prompt are known as tuned; also where they became so later."""
    digests = (prompt.ctx_sha256, prompt.half_sha256)
    return any(redis.smismember(keyspace.TUNED_VECTORS, list(digests)))


def note_if_near(redis: Redis, prompt: Prompt) -> bool:
    """Notes the vectors of a prompt as tuned if they lie around a tuned prompt; whether they do."""
    if are_tuned(redis, prompt):
        return True
    near = any(lies_around(prompt, *pair) for pair in _list_pairs(redis))
    if near:
        redis.sadd(keyspace.TUNED_VECTORS, prompt.ctx_sha256)
    return near


def note_tuned(redis: Redis, tuned: Prompt) -> None:
    """Notes the vectors of a prompt as tuned; for ever."""
    redis.sadd(keyspace.TUNED_VECTORS, tuned.ctx_sha256, tuned.half_sha256)


def note_start(
    redis: Redis, tuned: Prompt, start: Prompt, known: Iterator[Prompt], *, ttl_s: int
) -> None:
    """Notes from where a stored prompt was tuned, and known prompts that lie around it as tuned.

    Args:
        redis: the Redis of the service.
        tuned: the tuned prompt.
        start: the prompt that it started from.
        known: the learned and imported prompts.
        ttl_s: the seconds that the tuned prompt is kept.
    """
    values = EncodedPrompt.of(start).model_dump_json()
    redis.set(keyspace.tuned_start(tuned.sha256), values, ex=ttl_s)
    if redis.sadd(keyspace.TUNED_STARTS, tuned.sha256):  # last: without values it is forgotten
        near = [one.ctx_sha256 for one in known if lies_around(one, tuned, start)]
        if near:
            redis.sadd(keyspace.TUNED_VECTORS, *near)


_FORGET = """
if redis.call('EXISTS', KEYS[2], KEYS[3]) < 2 then redis.call('SREM', KEYS[1], ARGV[1]) end
"""


def _list_pairs(redis: Redis) -> Iterator[tuple[Prompt, Prompt]]:
    """Each tuned prompt that is still stored, with the one that it started from."""
    for name in map(as_text, redis.smembers(keyspace.TUNED_STARTS)):
        stored = keyspace.prompt(name), keyspace.tuned_start(name)
        tuned, start = redis.mget(*stored)
        if tuned is None or start is None:  # expired, unless it is stored again meanwhile
            redis.eval(_FORGET, 3, keyspace.TUNED_STARTS, *stored, name)
            continue
        yield (
            EncodedPrompt.model_validate_json(tuned).decode(),
            EncodedPrompt.model_validate_json(start).decode(),
        )


def note_learned(redis: Redis, prompt: Prompt, images: tuple[str, ...]) -> None:
    """Notes on which images, by digest, the vectors of a prompt were learned; for ever."""
    for digest in (prompt.ctx_sha256, prompt.half_sha256) if images else ():
        redis.sadd(keyspace.learned_on(digest), *images)


def was_learned_on(redis: Redis, prompt: Prompt, image_sha256: str) -> bool:
    """Whether the vectors of a prompt were learned on an image, under any name, in half too."""
    digests = (prompt.ctx_sha256, prompt.half_sha256)
    return any(redis.sismember(keyspace.learned_on(one), image_sha256) for one in digests)
