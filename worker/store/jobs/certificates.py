"""Outcomes of canonical requests, each of which stands once kept, and attempts at an image."""

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
    """Registers a roll for an image and says the how-manieth it is.

    Asking again for the same canonical request is no further roll and keeps its number. Attempts
    are kept for ever: one that expired would be a free roll.
    """
    number = redis.eval(_COUNT_ATTEMPT, 1, keyspace.attempts(request.input.sha256), sha256)
    return int(number)


def find_certificate(redis: Redis, sha256: str) -> FinishedResult | None:
    """The stored result of a canonical request, or None."""
    data = redis.get(keyspace.certificate(sha256))
    return None if data is None else FinishedResult.model_validate_json(data)


class DoubtsArose(RuntimeError):
    """Other hosts disagreed on votes of this request while it was counted; it is counted anew."""


_KEEP = """
if redis.call('SCARD', KEYS[2]) ~= tonumber(ARGV[3]) then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2], 'NX')
return 1
"""


def keep_certificate(
    redis: Redis, sha256: str, result: FinishedResult, *, ttl_s: int, doubts: int = 0
) -> FinishedResult:
    """Keeps the outcome of a canonical request, whatever it is, and returns the one that is kept.

    The first one stands: two jobs that counted the same request at a time answer alike.

    Args:
        redis, sha256: where, and the request's digest.
        result: what was counted.
        ttl_s: seconds it is kept.
        doubts: how many samples it takes for ambiguous because hosts disagreed on them.

    Raises:
        DoubtsArose: there are others that it does not know.
    """
    keys = (keyspace.certificate(sha256), keyspace.doubts(sha256))
    if not redis.eval(_KEEP, 2, *keys, result.model_dump_json(), ttl_s, doubts):
        raise DoubtsArose("votes of this request were contradicted; they are counted anew")
    return find_certificate(redis, sha256) or result
