"""The ranges of one certification that several hosts count: open, leased and counted, in Redis.

One run of a certification publishes its ranges. Each host with the same f may lease a range, count
it and hand in its votes. A lease lasts seconds and is renewed while the range is counted. When it
expires, the range is open again, so a range may be counted twice but is never lost. The board, and
the noise keys on it, last as long as the run renews them.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from threading import Event, Thread

from pydantic import Field
from redis import Redis
from redis.exceptions import RedisError

from models.log import get_logger
from worker.contract import Contract, Identity
from worker.contract.protocol import CountRange, OpenSession, RangeCounted
from worker.store import keyspace
from worker.store.connection import as_text

log = get_logger(__name__)

LEASE_S = 6.0
BOARD_TTL_S = 30
_RENEWALS_A_LEASE = 3
_TAKEN_AT_ONCE = 64

# Times are those of Redis, because the clocks of two hosts must not be compared.
_NOW = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""
_LEASE = f"""{_NOW}
if redis.call('EXISTS', KEYS[1]) == 0 then return 'gone' end
local name = redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', now, 'LIMIT', 0, 1)[1]
if not name then name = redis.call('LPOP', KEYS[2]) end
if not name then return 'none' end
redis.call('ZADD', KEYS[3], now + ARGV[1], name)
redis.call('EXPIRE', KEYS[3], ARGV[2])
return name
"""
_HAND_IN = """
redis.call('ZREM', KEYS[3], ARGV[1])
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('RPUSH', KEYS[2], ARGV[2])
redis.call('EXPIRE', KEYS[2], ARGV[3])
return 1
"""
_JOIN = f"""{_NOW}
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local until_ms = redis.call('ZSCORE', KEYS[2], ARGV[1])
if until_ms and tonumber(until_ms) > now then return 0 end
redis.call('ZADD', KEYS[2], now + ARGV[2], ARGV[1])
redis.call('EXPIRE', KEYS[2], ARGV[3])
return 1
"""
_RENEW = f"""{_NOW}
for i = 2, #ARGV do redis.call('ZADD', KEYS[1], 'XX', now + ARGV[1], ARGV[i]) end
"""
_COUNT_HOSTS = f"""{_NOW}
return redis.call('ZCOUNT', KEYS[1], now, '+inf')
"""


class BoardGone(LookupError):
    """The run that published the ranges has ended, or has not renewed them for `BOARD_TTL_S`."""


class SharedSession(Contract):
    """What a host needs to count ranges: the session to open, and the f that it must have."""

    session: OpenSession
    identity: Identity


class HandedIn(Contract):
    """The votes of one whole range, and who counted them.

    Hosts of earlier releases name no fingerprint.
    """

    host: str
    fingerprint: str | None = Field(default=None, exclude_if=lambda value: value is None)
    counted: RangeCounted


class RangeBoard:
    """The ranges of one run, as one host sees them.

    Args:
        redis: the Redis of the service.
        certification_id: the certification that is counted.
        run: names the run. Each run of a certification has its own board.
        host: names the engine that counts here. Workers that share an engine share its name.
        lease_s: the seconds that a lease lasts unless it is renewed.
    """

    def __init__(
        self,
        redis: Redis,
        certification_id: str,
        run: str,
        *,
        host: str,
        lease_s: float = LEASE_S,
    ) -> None:
        self._redis, self.host = redis, host
        self.certification_id, self.run = certification_id, run
        self._lease_s, self._lease_ms = lease_s, round(1000 * lease_s)
        self._posting, self._open, self._leases, self._counted, self._hosts = (
            keyspace.range_board(certification_id, run, part) for part in keyspace.RANGE_BOARD_PARTS
        )
        self._lease_script, self._hand_in_script, self._join_script = map(
            redis.register_script, (_LEASE, _HAND_IN, _JOIN)
        )
        self._mine: frozenset[str] = frozenset()
        self._owner = False

    # --- The run that wants votes ---

    def put_up(self, shared: SharedSession, ranges: Iterable[CountRange]) -> None:
        """Opens ranges to all hosts, in order and at once. The board is then ours."""
        self._owner = True
        with self._redis.pipeline() as pipeline:
            pipeline.set(self._posting, shared.model_dump_json(), ex=BOARD_TTL_S)
            pipeline.rpush(self._open, *map(_name, ranges))
            pipeline.expire(self._open, BOARD_TTL_S)
            pipeline.execute()
        self.join()

    def take(self, *, wait_s: float = 0.0) -> Iterator[HandedIn]:
        """Votes that were handed in since the last call; waits for the first, if it may."""
        if wait_s > 0 and (first := self._redis.blpop([self._counted], timeout=wait_s)):
            yield HandedIn.model_validate_json(as_text(first[1]))
        for data in self._redis.lpop(self._counted, _TAKEN_AT_ONCE) or ():
            yield HandedIn.model_validate_json(as_text(data))

    def is_empty(self) -> bool:
        """Whether no range is open, leased or handed in: Redis has lost what is still missing."""
        return not self._redis.exists(self._open, self._leases, self._counted)

    def count_hosts(self) -> int:
        """The hosts that count now, ours among them."""
        return int(self._redis.eval(_COUNT_HOSTS, 1, self._hosts))

    def remove(self) -> None:
        """Takes everything down. Whoever still counts finds nothing more to do."""
        self._redis.delete(self._posting, self._open, self._leases, self._counted, self._hosts)

    # --- Whoever counts ---

    def find_session(self) -> SharedSession | None:
        """What is to be counted, or None when the board is gone."""
        data = self._redis.get(self._posting)
        return None if data is None else SharedSession.model_validate_json(data)

    def join(self) -> bool:
        """Registers this host; False when it counts here already, or the board is gone."""
        keys = [self._posting, self._hosts]
        return bool(self._join_script(keys, [self.host, self._lease_ms, BOARD_TTL_S]))

    def leave(self) -> None:
        """Says that this host no longer counts."""
        self._redis.zrem(self._hosts, self.host)

    def lease(self) -> CountRange | None:
        """The next range to count: one whose lease ran out, else an open one, else None.

        Raises:
            BoardGone: nobody wants votes any more.
        """
        keys = [self._posting, self._open, self._leases]
        answer = as_text(self._lease_script(keys, [self._lease_ms, BOARD_TTL_S]))
        if answer == "gone":
            raise BoardGone("no run of this certification asks for ranges any more")
        if answer == "none":
            return None
        self._mine |= {answer}
        return _parse(answer)

    def hand_in(self, counted: RangeCounted, fingerprint: str | None = None) -> None:
        """Hands the votes of a whole range by one f to the run, and ends the lease."""
        name = _name(counted)
        handed_in = HandedIn(host=self.host, fingerprint=fingerprint, counted=counted)
        data = handed_in.model_dump_json()
        keys = [self._posting, self._counted, self._leases]
        self._hand_in_script(keys, [name, data, BOARD_TTL_S])
        self._mine -= {name}

    def release(self, counted: CountRange | RangeCounted) -> None:
        """Ends the lease of a range whose votes have arrived, whichever host held it."""
        if not self._owner:
            return  # nothing was put up
        name = _name(counted)
        self._redis.zrem(self._leases, name)
        self._mine -= {name}

    @contextmanager
    def renewed(self) -> Iterator[None]:
        """Renews leases, and the board if it is this run's, while the block runs.

        A thread does this, because one batch of an engine may take long. It ends with its process.
        """
        done = Event()
        thread = Thread(target=self._keep_renewing, args=(done,), daemon=True, name="renew")
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def _keep_renewing(self, done: Event) -> None:
        while not done.wait(self._lease_s / _RENEWALS_A_LEASE):
            try:
                self.renew()
            except RedisError:  # the main thread gets the same error, and handles it
                log.warning("renewal_failed", run=self.run)

    def renew(self) -> None:
        """Renews for `lease_s` what this host holds."""
        with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.eval(_RENEW, 1, self._hosts, self._lease_ms, self.host)
            if mine := sorted(self._mine):
                pipeline.eval(_RENEW, 1, self._leases, self._lease_ms, *mine)
            if self._owner:
                for key in (self._posting, self._open, self._leases, self._counted, self._hosts):
                    pipeline.expire(key, BOARD_TTL_S)
            pipeline.execute()


def _name(wanted: CountRange | RangeCounted) -> str:
    return f"{wanted.sigma_index}:{wanted.phase}:{wanted.start}:{wanted.stop}"


def _parse(name: str) -> CountRange:
    sigma_index, phase, start, stop = name.split(":")
    fields = {"sigma_index": sigma_index, "phase": phase, "start": start, "stop": stop}
    return CountRange.model_validate(fields)
