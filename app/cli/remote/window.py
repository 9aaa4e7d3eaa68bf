"""How many images of an evaluation a service is given at a time: what `GET /capacity` allows."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Self

from app.client import AsyncClient, ClientError

_FIRST = 8  # until the service has answered, or while no host is ready
_WAITING = 2  # for each one that runs, so that no worker is idle and a new host finds work at once
_LOOK_S = 5.0


class _Gate:
    """Lets so many through at a time, in the order in which they came."""

    def __init__(self, limit: int) -> None:
        self.limit, self.inside = limit, 0
        self._change = asyncio.Condition()

    @asynccontextmanager
    async def passed(self) -> AsyncIterator[None]:
        """Inside, one more is through."""
        async with self._change:
            await self._change.wait_for(lambda: self.inside < self.limit)
            self.inside += 1
        try:
            yield
        finally:
            async with self._change:
                self.inside -= 1
                self._change.notify_all()

    async def set(self, limit: int) -> None:
        """Another limit, from now on."""
        async with self._change:
            self.limit = limit
            self._change.notify_all()


class Window:
    """The images under way, and of those the first ones, which are asked after.

    Twice as many as the hosts run at a time are under way. A host that joins raises the number
    within seconds. The service's own limits are kept by its answers: a queue that is full is asked
    again after the time that it names.

    Args:
        client: of the service.
        model: the model's id.
        most: the most images under way; None: no limit of one's own.
        look_s: seconds between looks at the service's capacity.
    """

    def __init__(
        self, client: AsyncClient, model: str, *, most: int | None, look_s: float = _LOOK_S
    ) -> None:
        self._client, self._model, self._most, self._look_s = client, model, most, look_s
        self._under_way, self._watched = _Gate(self._bound(_FIRST)), _Gate(_FIRST)

    async def __aenter__(self) -> Self:
        self._looking = asyncio.create_task(self._keep_looking())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._looking.cancel()
        await asyncio.gather(self._looking, return_exceptions=True)

    @asynccontextmanager
    async def under_way(self) -> AsyncIterator[None]:
        """Waits until one more image may be under way; inside, it is."""
        async with self._under_way.passed():
            yield

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Waits until this image may be asked after: those sent first are certified first."""
        async with self._watched.passed():
            yield

    async def _keep_looking(self) -> None:
        while True:
            with suppress(ClientError):  # the submissions say what is wrong
                await self._adapt(await self._client.capacity())
            await asyncio.sleep(self._look_s)

    async def _adapt(self, capacity: dict[str, Any]) -> None:
        found = (one for one in capacity["models"] if one["model"] == self._model)
        at_a_time = next((one["at_a_time"] for one in found), 0) or _FIRST
        await self._under_way.set(self._bound(_WAITING * at_a_time))
        await self._watched.set(at_a_time)

    def _bound(self, wanted: int) -> int:
        return wanted if self._most is None else min(wanted, self._most)
