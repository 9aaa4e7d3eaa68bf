"""Prompts in Redis, where every worker of every host finds them at once.

Values lie under their digest, cards under their id. Learned and imported prompts stay until they
are removed; one that was adapted to an image has a time to live. An id names one prompt for ever,
also after its removal: certificates show it.

PromptRefused
├── PromptIdTaken     another prompt has, or had, this id
└── PromptIdReserved  ids of this form are given by the service
"""

import re

from redis import Redis

from models.prompt import Prompt
from models.prompt_cards import PromptCard
from models.prompt_files import check_prompt
from worker import keyspace
from worker.encoded_prompt import EncodedPrompt

_ADAPTED = "zero-shot-"
_DIGEST = re.compile(r"[0-9a-f]{64}")


class PromptRefused(ValueError):
    """A prompt cannot be stored under this id."""


class PromptIdTaken(PromptRefused):
    """An id names one prompt for ever."""

    def __init__(self, prompt_id: str, *, expected: str, found: str) -> None:
        super().__init__(
            f"The id {prompt_id!r} names another prompt, or named it before that was removed: its "
            f"digest is {expected}, that of the new one {found}. Choose another id."
        )


class PromptIdReserved(PromptRefused):
    """An id that would be taken for a digest or for an adapted prompt."""

    def __init__(self, prompt_id: str) -> None:
        super().__init__(
            f"The id {prompt_id!r} is not free: ids that begin with {_ADAPTED!r} and ids of 64 "
            "hexadecimal digits are given by the service. Choose another id."
        )


class PromptDamaged(ValueError):
    """Stored values do not have the digest they are stored under."""


PUT_SCRIPT = """
local taken = redis.call('HGET', KEYS[1], ARGV[1])
if taken and taken ~= ARGV[2] then return {taken, false} end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('HSETNX', KEYS[2], ARGV[1], ARGV[3])
redis.call('SET', KEYS[3], ARGV[4])
return {ARGV[2], redis.call('HGET', KEYS[2], ARGV[1])}
"""


def put_prompt(redis: Redis, card: PromptCard, prompt: Prompt) -> PromptCard:
    """Stores a learned or imported prompt for good, and returns the card that stands.

    The same prompt under the same id again changes nothing: the first card stands. Vectors that
    were tuned on an image here, at any time, keep that method under whatever id and suffix: what
    they depended on decides what a certificate covers.

    Raises:
        models.prompt_files.PromptMismatch: the card is about other vectors.
        PromptIdTaken: the id names another prompt.
        PromptIdReserved: ids of this form are the service's own.
    """
    check_prompt(card, prompt)
    check_id(card.id)
    if redis.sismember(keyspace.TUNED_VECTORS, prompt.ctx_sha256):
        card = card.model_copy(update={"method": "zero-shot"})
    keys = (keyspace.PROMPT_IDS, keyspace.PROMPTS, keyspace.prompt(card.sha256))
    values = EncodedPrompt.of(prompt).model_dump_json()
    arguments = (card.id, card.sha256, card.model_dump_json(), values)
    named, stands = redis.eval(PUT_SCRIPT, len(keys), *keys, *arguments)
    if stands is None:
        taken = named.decode() if isinstance(named, bytes) else named
        raise PromptIdTaken(card.id, expected=taken, found=card.sha256)
    return PromptCard.model_validate_json(stands)


def check_id(prompt_id: str) -> None:
    """Passes for an id that a learned or imported prompt may have; else raises PromptIdReserved."""
    if prompt_id.startswith(_ADAPTED) or _DIGEST.fullmatch(prompt_id):
        raise PromptIdReserved(prompt_id)


def is_taken(redis: Redis, prompt_id: str) -> bool:
    """Whether an id names a prompt, or named one before that was removed."""
    return bool(redis.hexists(keyspace.PROMPT_IDS, prompt_id))


_PUT_ADAPTED = """
for i = 1, 2 do
  local left = redis.call('TTL', KEYS[i])
  if left ~= -1 and left < tonumber(ARGV[3]) then
    redis.call('SET', KEYS[i], ARGV[i], 'EX', ARGV[3])
  end
end
redis.call('SADD', KEYS[3], ARGV[4])
"""


def put_adapted(redis: Redis, card: PromptCard, prompt: Prompt, *, ttl_s: int) -> None:
    """Stores a prompt that was adapted to an image; again renews its time to live.

    Raises:
        ValueError: the card is about other vectors, or its id is not `create_adapted_id`'s.
    """
    check_prompt(card, prompt)
    if card.id != create_adapted_id(prompt.sha256):
        raise ValueError(
            f"An adapted prompt has the id {create_adapted_id(prompt.sha256)}; {card.id} came."
        )
    adapted = keyspace.adapted_prompt(card.id)
    keys = (keyspace.prompt(card.sha256), adapted, keyspace.TUNED_VECTORS)
    values = EncodedPrompt.of(prompt).model_dump_json()
    arguments = (values, card.model_dump_json(), ttl_s, prompt.ctx_sha256)
    redis.eval(_PUT_ADAPTED, len(keys), *keys, *arguments)


def create_adapted_id(sha256: str) -> str:
    """The id of an adapted prompt, made from its digest."""
    return f"{_ADAPTED}{sha256[:16]}"


def is_adapted_id(prompt_id: str) -> bool:
    """Whether an id is of the form that adapted prompts have."""
    return prompt_id.startswith(_ADAPTED)


def find_card(redis: Redis, name: str) -> PromptCard | None:
    """The card of a prompt by its id or its digest, adapted ones too; None when there is none.

    Where the same values were adapted to an image, it is the adapted prompt's card, whatever name
    they were stored under since: what they depended on decides what a certificate covers.
    """
    if _DIGEST.fullmatch(name):
        known = next((card for card in list_cards(redis) if card.sha256 == name), None)
        return _find_adapted(redis, create_adapted_id(name), name) or known
    data = redis.hget(keyspace.PROMPTS, name)
    if data is None:
        return _find_adapted(redis, name, None)
    card = PromptCard.model_validate_json(data)
    return _find_adapted(redis, create_adapted_id(card.sha256), card.sha256) or card


def _find_adapted(redis: Redis, prompt_id: str, sha256: str | None) -> PromptCard | None:
    """The card of an adapted prompt, if it has this digest."""
    data = redis.get(keyspace.adapted_prompt(prompt_id))
    card = None if data is None else PromptCard.model_validate_json(data)
    return card if card is not None and sha256 in (None, card.sha256) else None


def find_prompt(redis: Redis, sha256: str) -> Prompt | None:
    """The values stored under a digest; None when there are none.

    Raises:
        PromptDamaged: what is stored does not have that digest.
    """
    data = redis.get(keyspace.prompt(sha256))
    if data is None:
        return None
    try:
        prompt = EncodedPrompt.model_validate_json(data).decode()
    except ValueError as error:
        raise PromptDamaged(f"the stored prompt {sha256} cannot be read") from error
    if prompt.sha256 != sha256:
        raise PromptDamaged(f"expected the prompt {sha256}, found {prompt.sha256} in its place")
    return prompt


def list_cards(redis: Redis) -> tuple[PromptCard, ...]:
    """The cards of learned and imported prompts, in order of their ids.

    Prompts adapted to one image are left out: their certificates name them.
    """
    cards = map(PromptCard.model_validate_json, redis.hvals(keyspace.PROMPTS))
    return tuple(sorted(cards, key=lambda card: card.id))


_REMOVE = """
local stored = redis.call('HGET', KEYS[1], ARGV[1])
if not stored then return 0 end
redis.call('HDEL', KEYS[1], ARGV[1])
local sha256 = cjson.decode(stored)['sha256']
for _, card in ipairs(redis.call('HVALS', KEYS[1])) do
  if cjson.decode(card)['sha256'] == sha256 then return 1 end
end
local adapted = redis.call('TTL', ARGV[3] .. string.sub(sha256, 1, 16))
redis.call('EXPIRE', ARGV[2] .. sha256, math.max(adapted, tonumber(ARGV[4])))
return 1
"""


def remove(redis: Redis, prompt_id: str, *, ttl_s: int) -> bool:
    """Removes the card of a learned or imported prompt; whether there was one.

    Its values stay `ttl_s` seconds more, for jobs that were accepted before, and as long as
    another id names them too. Certificates stay valid, for they name the digest. An adapted prompt
    is not removed: it expires with the certificates that name it.
    """
    values, adapted = keyspace.prompt(""), keyspace.adapted_prompt(_ADAPTED)
    return bool(redis.eval(_REMOVE, 1, keyspace.PROMPTS, prompt_id, values, adapted, ttl_s))
