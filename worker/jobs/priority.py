"""The order in which jobs of a queue are taken: urgent ones first, batches last, each some time.

A worker process takes from one queue alone, that of RQ. Jobs of normal priority wait in it. Urgent
jobs and batches wait in lists of their own. Some workers of a host take urgent jobs alone, so that
one need not wait until a running job ends (`UrgentQueue`). Whenever another worker is free, it
first moves the job whose turn it is to the front of RQ's queue:

- an urgent job, before all others;
- a batch, if nothing else waits;
- every fourth time, a job that has been overtaken for long: aging.

A job that was cut off or handed back goes to the front, for it had its turn: an urgent one of the
urgent jobs, another of RQ's queue.
"""

import time
from typing import Any

from redis import Redis
from redis.client import Pipeline
from rq import Queue
from rq.exceptions import DequeueTimeout
from rq.intermediate_queue import IntermediateQueue
from rq.job import Job

from worker.contract import PRIORITIES, QUEUE_NAME, Priority
from worker.store import keyspace
from worker.store.connection import as_text

OVERTAKEN = 3
"""How many jobs in a row go before one that has waited for long."""
_RINGS, _RING_S = 64, 60  # so many rings of the bell are kept, and for so many seconds

# The queue holds a job whenever the other lists do, so a worker that waits at it is woken.
_TOP_UP = """
local queue, urgent, batch = KEYS[1], KEYS[2], KEYS[3]
local function top_up()
  if redis.call('LLEN', queue) > 0 then return end
  if not redis.call('LMOVE', urgent, queue, 'LEFT', 'LEFT') then
    redis.call('LMOVE', batch, queue, 'LEFT', 'LEFT')
  end
end
"""
# An urgent job that was moved to RQ's queue is its first, or its second behind one that has waited
# long. What is sent to the front goes behind it, so that it is always found there.
_FIND_MOVED = """
local function find_moved(priority_of)
  for _, id in ipairs(redis.call('LRANGE', queue, 0, 1)) do
    if redis.call('GET', priority_of .. id) == 'urgent' then return id end
  end
end
"""
_PUSH = f"""{_TOP_UP}{_FIND_MOVED}
local bell, id, priority_of, to_front = KEYS[4], ARGV[1], ARGV[2], ARGV[3] == 'front'
local moved = to_front and find_moved(priority_of)
local priority = redis.call('GET', priority_of .. id) or 'normal'
if priority == 'urgent' then
  redis.call(to_front and 'LPUSH' or 'RPUSH', urgent, id)
  redis.call('RPUSH', bell, 1)
  redis.call('LTRIM', bell, -{_RINGS}, -1)
  redis.call('EXPIRE', bell, {_RING_S})
elseif moved then redis.call('LINSERT', queue, 'AFTER', moved, id)
elseif to_front then redis.call('LPUSH', queue, id)
else redis.call('RPUSH', priority == 'batch' and batch or queue, id) end
top_up()
"""
_TAKE_URGENT = f"""{_TOP_UP}{_FIND_MOVED}
local taken, moved = KEYS[4], find_moved(ARGV[1])
if moved then
  redis.call('RPUSH', taken, moved)
  redis.call('LREM', queue, 1, moved)
  top_up()
  return moved
end
return redis.call('LMOVE', urgent, taken, 'LEFT', 'RIGHT')
"""
_PUT_BACK = f"""
if redis.call('LREM', KEYS[5], 1, ARGV[1]) == 0 then return 0 end
{_PUSH}
return 1
"""
# Jobs that nobody accepted (helpers of other jobs) have no time of acceptance and do not age.
_GIVE_TURN = f"""{_TOP_UP}
local accepted, turns = KEYS[4], KEYS[5]
local aged_since, overtaken, priority_of = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local function since(id)
  return tonumber(id and redis.call('ZSCORE', accepted, id) or nil)
end
local function is_its_turn(name, id)
  local at = since(id)
  if not at or at > aged_since then return false end
  redis.call('EXPIRE', turns, 3600)
  if redis.call('HINCRBY', turns, name, 1) <= overtaken then return false end
  redis.call('HDEL', turns, name)
  return true
end
local next_urgent = redis.call('LINDEX', urgent, 0)
local next_batch = redis.call('LINDEX', batch, 0)
local head = redis.call('LINDEX', queue, 0)
local moved = head and redis.call('GET', priority_of .. head) == 'urgent'
if next_urgent or moved then
  local normal = head
  if moved then normal = redis.call('LINDEX', queue, 1) end
  local at_normal, at_batch = since(normal), since(next_batch)
  local oldest, from = normal, queue
  if at_batch and (not at_normal or at_batch < at_normal) then oldest, from = next_batch, batch end
  if is_its_turn('urgent', oldest) then
    redis.call('LREM', from, 1, oldest)
    redis.call('LPUSH', queue, oldest)
  elseif not moved then
    redis.call('LMOVE', urgent, queue, 'LEFT', 'LEFT')
  end
else
  redis.call('HDEL', turns, 'urgent')
  if head and is_its_turn('normal', next_batch) then
    redis.call('LMOVE', batch, queue, 'LEFT', 'LEFT')
  end
  top_up()
end
"""


class PriorityQueue(Queue):
    """RQ's queue with lists beside it for urgent jobs and batches."""

    def push_job_id(
        self, job_id: str, pipeline: Pipeline | None = None, at_front: bool = False
    ) -> None:
        """As in RQ, except that a job waits by its priority, and at the front if that is asked."""
        connection = self.connection if pipeline is None else pipeline
        keys = (*list_keys(self), keyspace.bell(self.name))
        place = "front" if at_front else "back"
        connection.eval(_PUSH, len(keys), *keys, job_id, keyspace.priority(""), place)

    def put_back(self, job_id: str) -> bool:
        """Moves a job that a worker took and did not start to the front; whether it was there."""
        keys = (*list_keys(self), keyspace.bell(self.name), self.intermediate_queue_key)
        arguments = (job_id, keyspace.priority(""), "front")
        return bool(self.connection.eval(_PUT_BACK, len(keys), *keys, *arguments))

    def remove(self, job_or_id: Job | str, pipeline: Pipeline | None = None) -> int:
        """As in RQ, wherever the job waits."""
        job_id = job_or_id if isinstance(job_or_id, str) else job_or_id.id
        connection = self.connection if pipeline is None else pipeline
        removed: list[Any] = [connection.lrem(key, 1, job_id) for key in list_keys(self)]
        return 0 if pipeline is not None else sum(removed)


class UrgentQueue(PriorityQueue):
    """The same queue for a worker that takes urgent jobs alone."""

    @classmethod
    def lmove(
        cls, connection: Redis, queue_key: str, timeout: int | None
    ) -> tuple[str, str] | None:
        """As in RQ, but only an urgent job. A bell in Redis ends the wait for one.

        One whose ring was lost, or answered by another worker, is found after the timeout.
        """
        queue = cls.from_queue_key(queue_key, connection=connection)
        taken = _take_urgent(queue)
        if taken is None and timeout is not None:
            connection.blpop([keyspace.bell(queue.name)], timeout)
            taken = _take_urgent(queue)
            if taken is None:
                raise DequeueTimeout(timeout, queue_key)
        return None if taken is None else (queue_key, taken)


def _take_urgent(queue: Queue) -> str | None:
    """Takes the first urgent job as RQ takes one: it moves to the intermediate queue."""
    taken = IntermediateQueue(queue.key, queue.connection).key
    keys = (*list_keys(queue), taken)
    found = queue.connection.eval(_TAKE_URGENT, len(keys), *keys, keyspace.priority(""))
    return None if found is None else as_text(found)


def list_keys(queue: Queue) -> tuple[str, str, str]:
    """Where jobs wait: RQ's queue, the urgent ones, the batches."""
    urgent, batch = (keyspace.waiting(f"{queue.name}:{one}") for one in ("urgent", "batch"))
    return queue.key, urgent, batch


def give_turn(queue: Queue, *, aging_s: float, now: float | None = None) -> None:
    """Moves the job whose turn it is to the front of RQ's queue. A free worker calls it.

    Args:
        queue: the queue of the worker.
        aging_s: how long a job may be overtaken before it gets every fourth turn.
        now: the time, in seconds since the epoch.
    """
    aged_since = (time.time() if now is None else now) - aging_s
    keys = (
        *list_keys(queue),
        keyspace.accepted(queue.name),
        keyspace.turns(queue.name),
    )
    arguments = (aged_since, OVERTAKEN, keyspace.priority(""))
    queue.connection.eval(_GIVE_TURN, len(keys), *keys, *arguments)


def top_up(queue: Queue) -> None:
    """Moves a job to RQ's queue if that is empty, for other workers that wait at it."""
    keys = list_keys(queue)
    queue.connection.eval(f"{_TOP_UP} top_up()", len(keys), *keys)


def list_waiting(redis: Redis, name: str = QUEUE_NAME) -> dict[Priority, tuple[str, ...]]:
    """The ids of waiting jobs by priority, in the order in which they are taken."""
    queue, urgent, batch = list_keys(Queue(name, connection=redis))
    with redis.pipeline() as pipeline:
        for key in (urgent, queue, batch):
            pipeline.lrange(key, 0, -1)
        found = [tuple(map(as_text, ids)) for ids in pipeline.execute()]
    return dict(zip(PRIORITIES, found, strict=True))
