"""The outcomes of canonical requests, which never change, and the attempts on an image."""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from functools import partial

from redis import Redis
from redis.client import Pipeline

from worker.contract import CertifyRequest, Identity
from worker.contract.attempt import Attempt, create_attempt
from worker.contract.certificate.document import FinishedResult
from worker.contract.host import f_sha256
from worker.store import keyspace
from worker.store.connection import as_text
from worker.store.jobs.damaged import RecordDamaged, parse_or_none, read_record

_COUNT_ATTEMPT = """
local name, own = ARGV[1], ARGV[1] .. '@' .. ARGV[2]
local others = ARGV[4] ~= '' or redis.call('HEXISTS', KEYS[1], own) == 1
for _, shown in ipairs(redis.call('SMEMBERS', KEYS[3])) do
  local same = shown == ARGV[2]
  for i = 6, #ARGV do same = same or shown == ARGV[i] end
  others = others or not same or ARGV[5] == ''
end
if others and redis.call('HEXISTS', KEYS[1], name) == 1 then
  name = own
  if ARGV[5] == '' then name = own .. '#' .. redis.call('HLEN', KEYS[1]) end
end
if redis.call('HEXISTS', KEYS[1], name) == 0 then
  redis.call('HSET', KEYS[1], name, redis.call('HLEN', KEYS[1]) + 1)
  redis.call('HSET', KEYS[2], name, ARGV[3])
end
return {name, redis.call('HGETALL', KEYS[1]), redis.call('HGETALL', KEYS[2])}
"""


def count_attempt(
    redis: Redis, request: CertifyRequest, sha256: str, identity: Identity, *, anew: bool = False
) -> Attempt:
    """Registers a roll for an image, and says which of its attempts this is.

    The same canonical request under the same f is the same roll and keeps its number. Under
    another f it is a further attempt once counts under the first were shown. So is every run of an
    f without a fingerprint, whose votes may be others each time. Attempts never expire, because an
    expired attempt would be a free roll.

    Args:
        redis: the Redis of the service.
        request, sha256: the canonical request and its digest under the key secret.
        identity: the f that counts.
        anew: True where counts of this roll by another f are known to have been shown.
    """
    image = request.input.sha256
    keys = (keyspace.attempts(image), keyspace.attempt_alphas(image), keyspace.shown(sha256))
    own, spent = f_sha256(identity), f"{request.alpha_spent:f}"
    named = identity.fingerprint is not None
    alike = [identity.model_copy(update={"fingerprint": one}) for one in identity.alike]
    given = (sha256, own, spent, "1" if anew else "", "1" if named else "", *map(f_sha256, alike))
    name, numbers, alphas = redis.eval(_COUNT_ATTEMPT, len(keys), *keys, *given)
    spent_by = {one: Decimal(alpha) for one, alpha in _pairs(alphas)}
    return create_attempt({one: int(n) for one, n in _pairs(numbers)}, spent_by, as_text(name))


def _pairs(flat: Sequence[bytes | str]) -> Iterator[tuple[str, str]]:
    """The entries of a hash, as a script returns them."""
    texts = list(map(as_text, flat))
    return zip(texts[::2], texts[1::2], strict=True)


def note_shown(redis: "Redis | Pipeline", sha256: str, identity: Identity) -> None:
    """Notes that counts of a canonical request by this f are shown; this never expires."""
    redis.sadd(keyspace.shown(sha256), f_sha256(identity))


def list_shown(redis: Redis, sha256: str) -> tuple[str, ...]:
    """The digests of every f under which counts of a canonical request were ever shown.

    Earlier versions noted fingerprints in their place.
    """
    return tuple(sorted(map(as_text, redis.smembers(keyspace.shown(sha256)))))


def name_certificate(sha256: str, continuations: int) -> str:
    """The key of the result of a canonical request after so many continuations."""
    return keyspace.certificate(f"{sha256}:{continuations}" if continuations else sha256)


def find_certificate(redis: Redis, sha256: str, continuations: int = 0) -> FinishedResult | None:
    """The stored result of a canonical request after so many continuations, or None.

    One that cannot be read is removed; what it took stays counted.
    """
    key = name_certificate(sha256, continuations)
    try:
        data = read_record(partial(redis.get, key), sha256, "certificate")
    except RecordDamaged:
        data = b""
    if data is None:
        return None
    result = parse_or_none(FinishedResult, data, sha256, "certificate")
    if result is None:
        redis.delete(key)
    return result


class DisagreementsArose(RuntimeError):
    """Hosts disagreed on votes of this request while it was counted. It must be counted anew."""


_KEEP = """
if redis.call('SCARD', KEYS[2]) ~= tonumber(ARGV[3]) then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2], 'NX')
return 1
"""


def keep_certificate(
    redis: Redis,
    sha256: str,
    result: FinishedResult,
    *,
    ttl_s: int,
    disagreements: int = 0,
    continuations: int = 0,
) -> FinishedResult:
    """Stores the outcome of a canonical request, whatever it is, and returns the stored one.

    The first one stands, so two jobs that count the same request at the same time answer alike.

    Args:
        redis, sha256: the Redis of the service, and the digest of the request.
        result: the outcome that was counted.
        ttl_s: the seconds that it is kept.
        disagreements: the number of samples it counts as ambiguous because hosts disagreed.
        continuations: how often the request went on.

    Raises:
        DisagreementsArose: there are further ones that it does not count.
    """
    keys = (name_certificate(sha256, continuations), keyspace.disagreements(sha256))
    if not redis.eval(_KEEP, 2, *keys, result.model_dump_json(), ttl_s, disagreements):
        raise DisagreementsArose("votes of this request were contradicted; they are counted anew")
    return find_certificate(redis, sha256, continuations) or result
