"""The rate limit: how many requests a caller may send in a minute.

The generic cell rate algorithm (GCRA) in one small Redis script. It uses the clock of Redis, so
that several app processes count together. A caller may send a whole minute's requests at once and
then continues at that rate. (The library `limits` does the same, but does not accept the redis
client that RQ 3 needs.)
"""

import math
from dataclasses import dataclass

from anyio import to_thread
from redis import Redis
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.server.access.caller import Caller
from app.server.answers.problems import QUEUE_AWAY, QueueUnavailable, RateLimited, create_response
from worker.store import keyspace

_WINDOW_S = 60
_COUNT = """
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local each, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local full = math.max(now, tonumber(redis.call('GET', KEYS[1])) or now)
local room = now + each * burst - full
if room < each then return {0, math.ceil(each - room), math.ceil(full - now)} end
full = full + each
redis.call('SET', KEYS[1], string.format('%.0f', full), 'PX', math.ceil((full - now) / 1000) + 1)
return {1, math.floor((room - each) / each + 1e-6), math.ceil(full - now)}
"""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A caller's position after a request was counted or rejected."""

    limit: int
    left: int
    retry_after_s: int | None
    full_again_s: int

    @property
    def headers(self) -> dict[str, str]:
        """The headers of draft-ietf-httpapi-ratelimit-headers."""
        return {
            "RateLimit-Policy": f'"requests";q={self.limit};w={_WINDOW_S}',
            "RateLimit": f'"requests";r={self.left};t={self.full_again_s}',
        }


def count_request(redis: Redis, key_id: str, limit: int) -> Standing:
    """Counts a request of a caller that may send `limit` requests a minute."""
    key, each_us = keyspace.requests_limit(key_id), _WINDOW_S * 1_000_000 / limit
    counted, value, full_us = redis.eval(_COUNT, 1, key, each_us, limit)
    return Standing(
        limit=limit,
        left=int(value) if counted else 0,
        retry_after_s=None if counted else _seconds(value),
        full_again_s=_seconds(full_us),
    )


def _seconds(microseconds: int) -> int:
    return max(1, math.ceil(int(microseconds) / 1_000_000))


@dataclass(frozen=True)
class RateLimit:
    """Answers 429 to a caller that exceeds its key's rate. A key without a limit costs nothing."""

    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        caller: Caller | None = scope.get("state", {}).get("caller")
        limit = None if caller is None else caller.quotas.requests_per_minute
        if scope["type"] != "http" or caller is None or limit is None:
            await self.app(scope, receive, send)
            return
        redis: Redis = scope["state"]["services"].redis
        try:
            standing = await to_thread.run_sync(count_request, redis, caller.key_id, limit)
        except QUEUE_AWAY:
            await create_response(Request(scope), QueueUnavailable())(scope, receive, send)
            return
        if standing.retry_after_s is not None:
            headers = {"Retry-After": str(standing.retry_after_s), **standing.headers}
            problem = RateLimited(
                f"This key may send at most {limit} requests a minute.", headers=headers
            )
            await create_response(Request(scope), problem)(scope, receive, send)
            return

        async def send_with_standing(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(standing.headers)
            await send(message)

        await self.app(scope, receive, send_with_standing)
