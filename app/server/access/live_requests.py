"""Requests under way, each with the check that let it in.

A key can be revoked, can expire, or can become necessary while a stream or a wait goes on. So the
check is made again every second, and whatever it no longer lets in ends.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import anyio
from anyio import CancelScope

from app.server.answers.problems import Problem

_AGAIN_S = 1.0


class LiveRequest:
    """A request under way. `ended_by` is the problem that ended it, if one did."""

    def __init__(self, check: Callable[[], object], scope: CancelScope) -> None:
        self._check, self._scope = check, scope
        self.ended_by: Problem | None = None

    def check_again(self) -> None:
        """Ends the request if it would not be let in now."""
        try:
            self._check()
        except Problem as problem:
            self.ended_by = problem
            self._scope.cancel()


class LiveRequests:
    """All requests under way."""

    def __init__(self) -> None:
        self._live: set[LiveRequest] = set()

    @contextmanager
    def hold(self, check: Callable[[], object]) -> Iterator[LiveRequest]:
        """Checks the request again and again while the block runs, and cancels the block."""
        with CancelScope() as scope:
            request = LiveRequest(check, scope)
            self._live.add(request)
            try:
                yield request
            finally:
                self._live.discard(request)

    async def keep_checking(self) -> None:
        """Runs while the app does."""
        while True:
            await anyio.sleep(_AGAIN_S)
            for request in tuple(self._live):
                request.check_again()
