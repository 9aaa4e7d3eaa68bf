"""Cancelling a certification that is queued or running.

The result decides: of a cancel and a worker that finishes at the same time, the first to store one
stands, and there is exactly one. What was rolled stays rolled: the attempt of a certification that
had begun counts, and the same request asked for again has the same noise and the same votes.
"""

from redis import Redis

from worker.contract import QUEUE_NAME
from worker.contract.certificate.document import CancelledResult
from worker.jobs.queue import end_job
from worker.store import keyspace
from worker.store.connection import one_connection, wait_durable

_CANCEL = """
if redis.call('EXISTS', KEYS[1]) == 0 or redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
redis.call('SET', KEYS[2], ARGV[1], 'EX', ARGV[2])
redis.call('SET', KEYS[3], '1', 'EX', ARGV[2])
redis.call('DEL', KEYS[4], KEYS[5])
redis.call('ZREM', KEYS[6], ARGV[3])
redis.call('HINCRBY', KEYS[7], 'ended:cancelled', 1)
return 1
"""


class Cancelled(Exception):
    """Nobody wants this certification any more."""


def cancel(redis: Redis, certification_id: str, *, ttl_s: int) -> bool:
    """Ends a certification that has no result yet, on disk before this returns; whether it did.

    A worker ends within the range of samples that it is counting, a helper on another host within
    the range that it has leased; a work-horse that waits for its engine is stopped.
    """
    keys = (
        keyspace.job(certification_id),
        keyspace.result(certification_id),
        keyspace.cancel(certification_id),
        keyspace.checkpoint(certification_id),
        keyspace.progress(certification_id),
        keyspace.accepted(QUEUE_NAME),
        keyspace.COUNTERS,
    )
    with one_connection(redis) as connection:
        result = CancelledResult().model_dump_json()
        if not connection.eval(_CANCEL, len(keys), *keys, result, ttl_s, certification_id):
            return False
        wait_durable(connection)
        end_job(connection, certification_id)
    return True


def require_wanted(redis: Redis, certification_id: str) -> None:
    """Passes unless the certification was cancelled or purged. `Cancelled` when it was."""
    if redis.exists(keyspace.cancel(certification_id)):
        raise Cancelled
