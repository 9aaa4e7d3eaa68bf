"""Writes that are on disk before anybody is told of them."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

from redis import ConnectionPool, Redis
from redis.connection import Connection
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

_CONFIRM_TRIES, _CONFIRM_TRY_MS = 8, 200  # one try is well below the app's socket timeout
_LOG_TRIES, _LOG_TRY_S = 150, 0.01


class NotDurable(RedisTimeoutError):
    """A write is not known to be on disk, though Redis may hold it."""


class OneConnection(Redis):
    """A client whose commands and transactions share one connection.

    `WAITAOF` waits for what its own connection wrote, and redis-py takes another connection for a
    transaction wherever the pool has one.
    """

    def __init__(self, like: ConnectionPool) -> None:
        self._connects = self._connects_at_begin = 0
        options = {**like.connection_kwargs, "redis_connect_func": self._connect}
        only = ConnectionPool(like.connection_class, max_connections=1, **options)
        super().__init__(connection_pool=only)

    def _connect(self, connection: Connection) -> None:
        self._connects += 1
        connection.on_connect()  # type: ignore[no-untyped-call]  # redis-py has not typed it

    def begin(self) -> None:
        """Connects if it has to. A connection that is made after this has written nothing."""
        self.connection_pool.release(self.connection_pool.get_connection())
        self._connects_at_begin = self._connects

    @property
    def was_lost(self) -> bool:
        """Whether the connection that `begin` found was lost since, and another one made."""
        return self._connects != self._connects_at_begin


# Clients that nobody uses now, by the pool that they were made after.
_spare: WeakKeyDictionary[ConnectionPool, list[OneConnection]] = WeakKeyDictionary()


@contextmanager
def one_connection(redis: Redis) -> Iterator[OneConnection]:
    """A client for writes and for `wait_durable` after them."""
    spare = _spare.setdefault(redis.connection_pool, [])
    try:
        client = spare.pop()
    except IndexError:
        client = OneConnection(redis.connection_pool)
    try:
        client.begin()
        yield client
    finally:
        spare.append(client)


def wait_durable(redis: OneConnection) -> None:
    """Waits until Redis says that what this connection wrote is on disk, 1.6 seconds at most.

    That holds as far as Redis tells the truth: under `appendfsync always` it does. Before 7.2 it
    cannot confirm (`WAITAOF`), and is asked whether its log is written.

    Raises:
        NotDurable: Redis does not say so, or the connection was lost after the write.
    """
    try:
        confirmed = any(redis.waitaof(1, 0, _CONFIRM_TRY_MS)[0] for _ in range(_CONFIRM_TRIES))
    except ResponseError:
        _require_written_log(redis, whole=True)
    else:
        if not confirmed:
            raise NotDurable("Redis did not confirm that the write is on disk")
        _require_written_log(redis, whole=False)
    if redis.was_lost:
        raise NotDurable("The connection to Redis was lost after the write")


def _require_written_log(redis: Redis, *, whole: bool) -> None:
    """Returns if Redis could write its log, and has written the whole of it where that is asked."""
    try:
        for _ in range(_LOG_TRIES):
            log: dict[str, Any] = redis.info("persistence")
            if log.get("aof_last_write_status", "ok") != "ok":
                raise NotDurable("Redis cannot write its log; look at its disk")
            if not whole or not log.get("aof_buffer_length"):
                return
            time.sleep(_LOG_TRY_S)
    except ResponseError:  # its access list may forbid the question
        return
    raise NotDurable("Redis did not write its log in time")
