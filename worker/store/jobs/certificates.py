"""The outcomes of canonical requests, which never change, and the attempts on an image."""

from redis import Redis

from worker.contract import CertifyRequest
from worker.contract.certificate.document import FinishedResult
from worker.store import keyspace

_COUNT_ATTEMPT = """
local number = redis.call('HGET', KEYS[1], ARGV[1])
if not number then
  number = redis.call('HLEN', KEYS[1]) + 1
  redis.call('HSET', KEYS[1], ARGV[1], number)
end
return tonumber(number)
"""


def count_attempt(redis: Redis, request: CertifyRequest, sha256: str) -> int:
    """Registers a roll for an image and returns its ordinal number, starting from 1.

    The same canonical request is the same roll and keeps its number. Attempts never expire, because
    an expired attempt would be a free roll.
    """
    number = redis.eval(_COUNT_ATTEMPT, 1, keyspace.attempts(request.input.sha256), sha256)
    return int(number)


def find_certificate(redis: Redis, sha256: str) -> FinishedResult | None:
    """The stored result of a canonical request, or None."""
    data = redis.get(keyspace.certificate(sha256))
    return None if data is None else FinishedResult.model_validate_json(data)


class DisagreementsArose(RuntimeError):
    """Hosts disagreed on votes of this request while it was counted. It must be counted anew."""


_KEEP = """
if redis.call('SCARD', KEYS[2]) ~= tonumber(ARGV[3]) then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2], 'NX')
return 1
"""


def keep_certificate(
    redis: Redis, sha256: str, result: FinishedResult, *, ttl_s: int, disagreements: int = 0
) -> FinishedResult:
    """Stores the outcome of a canonical request, whatever it is, and returns the stored one.

    The first one stands, so two jobs that count the same request at the same time answer alike.

    Args:
        redis, sha256: the Redis of the service, and the digest of the request.
        result: the outcome that was counted.
        ttl_s: the seconds that it is kept.
        disagreements: the number of samples it counts as ambiguous because hosts disagreed.

    Raises:
        DisagreementsArose: there are further ones that it does not count.
    """
    keys = (keyspace.certificate(sha256), keyspace.disagreements(sha256))
    if not redis.eval(_KEEP, 2, *keys, result.model_dump_json(), ttl_s, disagreements):
        raise DisagreementsArose("votes of this request were contradicted; they are counted anew")
    return find_certificate(redis, sha256) or result
