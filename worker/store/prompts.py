"""Prompts in Redis, where all workers of all hosts find them.

Values are stored by digest, cards by id. Learned and imported prompts stay until they are removed.
A prompt tuned on an image has a time to live. An id always names the same prompt, even after its
removal, because certificates show it.

PromptRefused
├── PromptIdTaken     another prompt has, or had, this id
└── PromptIdReserved  ids of this form are given by the service
"""

import re
from collections.abc import Iterator
from contextlib import suppress

from redis import Redis

from models.prompts.cards import PromptCard
from models.prompts.files import check_prompt
from models.prompts.prompt import Prompt
from worker.contract import ANONYMOUS
from worker.contract.prompt import EncodedPrompt
from worker.store import keyspace, tuned_vectors
from worker.store.connection import as_text

_ADAPTED = "zero-shot-"
_DIGEST = re.compile(r"[0-9a-f]{64}")


class PromptRefused(ValueError):
    """A prompt cannot be stored under this id."""


class PromptIdTaken(PromptRefused):
    """The id already names another prompt. An id always names the same prompt."""

    def __init__(self, prompt_id: str, *, expected: str, found: str) -> None:
        super().__init__(
            f"The id {prompt_id!r} names another prompt, or named it before that was removed: its "
            f"digest is {expected}, that of the new one {found}. Choose another id."
        )


class PromptIdReserved(PromptRefused):
    """The id could be mistaken for a digest or for a prompt tuned on an image."""

    def __init__(self, prompt_id: str) -> None:
        super().__init__(
            f"The id {prompt_id!r} is not free: ids that begin with {_ADAPTED!r} and ids of 64 "
            "hexadecimal digits are given by the service. Choose another id."
        )


class PromptDamaged(ValueError):
    """Stored values do not match the digest they are stored under."""


PUT_SCRIPT = """
local taken = redis.call('HGET', KEYS[1], ARGV[1])
if taken and taken ~= ARGV[2] then return {taken, false} end
local owner = redis.call('HGET', KEYS[4], ARGV[1])
if owner and ARGV[5] ~= '' and owner ~= ARGV[5] then return {taken, false} end
if ARGV[5] == '' then
  redis.call('HDEL', KEYS[4], ARGV[1])
elseif redis.call('HEXISTS', KEYS[2], ARGV[1]) == 0 then
  redis.call('HSET', KEYS[4], ARGV[1], ARGV[5])
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('HSETNX', KEYS[2], ARGV[1], ARGV[3])
redis.call('SET', KEYS[3], ARGV[4])
return {ARGV[2], redis.call('HGET', KEYS[2], ARGV[1])}
"""


def put_prompt(
    redis: Redis, card: PromptCard, prompt: Prompt, *, owner: str | None = None
) -> PromptCard:
    """Stores a learned or imported prompt until it is removed, and returns the card that stands.

    Storing the same prompt under the same id again changes nothing: the first card stands. Vectors
    that were ever tuned on an image here keep that method under any id and suffix, because what
    they depended on decides what a certificate covers.

    Args:
        owner: the owner who may see it. If it is None, everyone may, even if it had an owner.

    Raises:
        models.prompts.files.PromptMismatch: the card is about other vectors.
        PromptIdTaken: the id names another prompt, or the same prompt of another owner.
        PromptIdReserved: ids of this form are the service's own.
    """
    check_prompt(card, prompt)
    check_id(card.id)
    if tuned_vectors.note_if_near(redis, prompt):
        card = card.model_copy(update={"method": "zero-shot"})
    if card.learning is not None:
        tuned_vectors.note_learned(redis, prompt, card.learning.images)
    values = EncodedPrompt.of(prompt).model_dump_json()
    keys = put_keys(card)
    arguments = (card.id, card.sha256, card.model_dump_json(), values, owner or "")
    named, stands = redis.eval(PUT_SCRIPT, len(keys), *keys, *arguments)
    if stands is None:
        taken = as_text(named)
        raise PromptIdTaken(card.id, expected=taken, found=card.sha256)
    return PromptCard.model_validate_json(stands)


def put_keys(card: PromptCard) -> tuple[str, ...]:
    """The keys of `PUT_SCRIPT`."""
    named = keyspace.PROMPT_IDS, keyspace.PROMPTS
    return (*named, keyspace.prompt(card.sha256), keyspace.PROMPT_OWNERS)


def find_owner(redis: Redis, prompt_id: str) -> str | None:
    """The owner who may see the learned or imported prompt with an id; None if everyone may."""
    owner = redis.hget(keyspace.PROMPT_OWNERS, prompt_id)
    return None if owner is None else as_text(owner)


def check_id(prompt_id: str) -> None:
    """Raises PromptIdReserved unless a learned or imported prompt may have this id."""
    if prompt_id.startswith(_ADAPTED) or _DIGEST.fullmatch(prompt_id):
        raise PromptIdReserved(prompt_id)


def is_taken(redis: Redis, prompt_id: str) -> bool:
    """Whether an id names a prompt, or named one that was removed."""
    return bool(redis.hexists(keyspace.PROMPT_IDS, prompt_id))


_PUT_ADAPTED = """
for i = 1, 2 do
  local left = redis.call('TTL', KEYS[i])
  if left ~= -1 and left < tonumber(ARGV[3]) then
    redis.call('SET', KEYS[i], ARGV[i], 'EX', ARGV[3])
  end
end
redis.call('SADD', KEYS[3], ARGV[4])
if redis.call('TTL', KEYS[3]) < tonumber(ARGV[3]) then
  redis.call('EXPIRE', KEYS[3], ARGV[3])
end
"""


def put_adapted(
    redis: Redis,
    card: PromptCard,
    prompt: Prompt,
    *,
    ttl_s: int,
    owner: str = ANONYMOUS,
    start: Prompt | None = None,
) -> None:
    """Stores a prompt tuned on an image. Storing it again renews its time to live.

    Every owner whose certificates name it may see it. `start` is the prompt that it started from.

    Raises:
        ValueError: the card is about other vectors, or its id is not `create_adapted_id`'s.
    """
    check_prompt(card, prompt)
    if card.id != create_adapted_id(prompt.sha256):
        raise ValueError(
            f"An adapted prompt has the id {create_adapted_id(prompt.sha256)}; {card.id} came."
        )
    adapted = keyspace.adapted_prompt(card.id)
    owners = keyspace.adapted_owners(card.id)
    keys = (keyspace.prompt(card.sha256), adapted, owners)
    values = EncodedPrompt.of(prompt).model_dump_json()
    arguments = (values, card.model_dump_json(), ttl_s, owner)
    tuned_vectors.note_tuned(redis, prompt)
    redis.eval(_PUT_ADAPTED, len(keys), *keys, *arguments)
    if start is not None:  # an earlier version kept none
        tuned_vectors.note_start(redis, prompt, start, _list_values(redis), ttl_s=ttl_s)


def _list_values(redis: Redis) -> Iterator[Prompt]:
    """The values of the learned and imported prompts; those that are damaged are left out."""
    for card in list_cards(redis):
        with suppress(PromptDamaged):
            if (found := find_prompt(redis, card.sha256)) is not None:
                yield found.decode()


def create_adapted_id(sha256: str) -> str:
    """The id of an adapted prompt, made from its digest."""
    return f"{_ADAPTED}{sha256[:16]}"


def is_adapted_id(prompt_id: str) -> bool:
    """Whether an id is of the form that adapted prompts have."""
    return prompt_id.startswith(_ADAPTED)


def find_card(redis: Redis, name: str, *, view: str | None = None) -> PromptCard | None:
    """The card of a prompt by its id or its digest, adapted ones too; None when there is none.

    Where the same values were adapted to an image, it is the adapted prompt's card, whatever name
    they were stored under since: what they depended on decides what a certificate covers.

    Args:
        view: the owner who looks and finds nothing of other owners; None: all is seen.
    """
    if is_adapted_id(name):
        return _show_adapted(redis, _find_adapted(redis, name), view)
    if _DIGEST.fullmatch(name):
        known = next((card for card in list_cards(redis, view=view) if card.sha256 == name), None)
        return _judge(redis, _find_first(redis, name, known, view))
    data = redis.hget(keyspace.PROMPTS, name)
    if data is None or not _is_shown(find_owner(redis, name), view):
        return None
    card = PromptCard.model_validate_json(data)
    return _judge(redis, _find_first(redis, card.sha256, card, view))


def _judge(redis: Redis, card: PromptCard | None) -> PromptCard | None:
    """The card as tuned if its vectors are: they may have been tuned after it was stored."""
    if card is None or card.method in ("zero-shot", "few-shot+zero-shot"):
        return card
    try:
        prompt = find_prompt(redis, card.sha256)
    except PromptDamaged:
        return card  # whoever needs the values is told
    if prompt is None or not tuned_vectors.are_tuned(redis, prompt.decode()):
        return card
    return card.model_copy(update={"method": "zero-shot"})


def _find_first(
    redis: Redis, sha256: str, known: PromptCard | None, view: str | None
) -> PromptCard | None:
    """The adapted prompt's card, or the known one; of a hidden adapted prompt only its method."""
    adapted = _find_adapted(redis, create_adapted_id(sha256))
    if adapted is None or adapted.sha256 != sha256:
        return known
    if (shown := _show_adapted(redis, adapted, view)) is not None:
        return shown
    return None if known is None else known.model_copy(update={"method": adapted.method})


def _find_adapted(redis: Redis, prompt_id: str) -> PromptCard | None:
    data = redis.get(keyspace.adapted_prompt(prompt_id))
    return None if data is None else PromptCard.model_validate_json(data)


def _show_adapted(redis: Redis, card: PromptCard | None, view: str | None) -> PromptCard | None:
    if card is None or view is None:
        return card
    return card if redis.sismember(keyspace.adapted_owners(card.id), view) else None


def _is_shown(owner: str | None, view: str | None) -> bool:
    return view is None or owner in (None, view)


def find_prompt(redis: Redis, sha256: str) -> EncodedPrompt | None:
    """The values stored under a digest, checked against it; None if there are none.

    Raises:
        PromptDamaged: what is stored does not have that digest.
    """
    data = redis.get(keyspace.prompt(sha256))
    if data is None:
        return None
    try:
        prompt = EncodedPrompt.model_validate_json(data)
        found = prompt.sha256
    except ValueError as error:
        raise PromptDamaged(f"the stored prompt {sha256} cannot be read") from error
    if found != sha256:
        raise PromptDamaged(f"expected the prompt {sha256}, found {found} in its place")
    return prompt


def list_cards(redis: Redis, *, view: str | None = None) -> tuple[PromptCard, ...]:
    """The cards of learned and imported prompts, in order of their ids.

    Prompts adapted to one image are left out: their certificates name them.

    Args:
        view: the owner who looks and finds nothing of other owners; None: all is seen.
    """
    owners = {} if view is None else _get_owners(redis)
    cards = map(PromptCard.model_validate_json, redis.hvals(keyspace.PROMPTS))
    shown = (card for card in cards if _is_shown(owners.get(card.id), view))
    return tuple(sorted(shown, key=lambda card: card.id))


def _get_owners(redis: Redis) -> dict[str, str]:
    stored = redis.hgetall(keyspace.PROMPT_OWNERS)
    return {as_text(name): as_text(owner) for name, owner in stored.items()}


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
