"""Cancels a certification that is queued or running.

If a worker finishes at the same time, the result that is stored first stands, and there is exactly
one. Cancelling undoes no roll: once a certification has begun, its attempt counts, and the same
request has the same noise and the same votes when it is sent again.
"""

import time

from redis import Redis

from worker.contract import QUEUE_NAME
from worker.contract.certificate.document import CancelledResult
from worker.jobs.queue import end_job
from worker.store import keyspace
from worker.store.durable import one_connection, wait_durable
from worker.store.jobs.callbacks import END_CALLBACK

_CANCEL = f"""{END_CALLBACK}
if redis.call('EXISTS', KEYS[1]) == 0 or redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
redis.call('SET', KEYS[2], ARGV[1], 'EX', ARGV[2])
redis.call('SET', KEYS[3], '1', 'EX', ARGV[2])
redis.call('DEL', KEYS[4], KEYS[5])
redis.call('ZREM', KEYS[6], ARGV[3])
redis.call('HINCRBY', KEYS[7], 'ended:cancelled', 1)
end_callback(KEYS[8], KEYS[9], ARGV[4], ARGV[3], 'cancelled', ARGV[5])
return 1
"""


class Cancelled(Exception):
    """This certification was cancelled or purged."""


def cancel(redis: Redis, certification_id: str, *, ttl_s: int) -> bool:
    """Ends a certification without a result, on disk before this returns. Returns whether it did.

    A worker stops after the range of samples that it is counting, and a helper on another host
    after the range that it has leased. A work-horse that waits for its engine is stopped.
    """
    keys = (
        keyspace.job(certification_id),
        keyspace.result(certification_id),
        keyspace.cancel(certification_id),
        keyspace.checkpoint(certification_id),
        keyspace.progress(certification_id),
        keyspace.accepted(QUEUE_NAME),
        keyspace.COUNTERS,
        keyspace.callback(certification_id),
        keyspace.WEBHOOK_TARGETS,
    )
    with one_connection(redis) as connection:
        result = CancelledResult().model_dump_json()
        told = (keyspace.due_webhooks(""), time.time())
        arguments = (result, ttl_s, certification_id, *told)
        if not connection.eval(_CANCEL, len(keys), *keys, *arguments):
            return False
        wait_durable(connection)
        end_job(connection, certification_id)
    return True


def require_wanted(redis: Redis, certification_id: str) -> None:
    """Raises `Cancelled` if the certification was cancelled or purged."""
    if redis.exists(keyspace.cancel(certification_id)):
        raise Cancelled
