"""The asynchronous client."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx2

from app.client import flows
from app.client.answers import Certification
from app.client.calls import Answer, Call, Flow, Pause, advance
from app.client.connection import Connected
from app.client.errors import ClientError, ServiceUnreachable
from app.client.flows import OnProgress
from app.client.folder import FolderItem, find_images, unreadable

T = TypeVar("T")


class AsyncClient(Connected[httpx2.AsyncClient]):
    """Has the methods of `Client` as coroutines; an asynchronous context manager."""

    _kind = httpx2.AsyncClient

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    async def submit(self, image: bytes, **fields: Any) -> Certification:
        """See `Client.submit`."""
        return await self._run(flows.submit(image, fields, patience_s=self._patience_s))

    async def get(self, certification_id: str) -> Certification:
        """See `Client.get`."""
        return await self._run(flows.find(certification_id, patience_s=self._patience_s))

    async def wait(
        self,
        certification_id: str,
        *,
        timeout_s: float | None = None,
        on_progress: OnProgress | None = None,
    ) -> Certification:
        """See `Client.wait`."""
        flow = flows.wait(
            certification_id,
            timeout_s=timeout_s,
            on_progress=on_progress,
            patience_s=self._patience_s,
        )
        return await self._run(flow)

    async def certify(
        self,
        image: bytes,
        *,
        timeout_s: float | None = None,
        on_progress: OnProgress | None = None,
        **fields: Any,
    ) -> Certification:
        """See `Client.certify`."""
        job = await self.submit(image, **fields)
        return await self.wait(job.id, timeout_s=timeout_s, on_progress=on_progress)

    async def certify_folder(
        self, folder: Path | Sequence[Path], *, at_a_time: int = 8, **fields: Any
    ) -> AsyncIterator[FolderItem]:
        """See `Client.certify_folder`."""
        paths = find_images(folder) if isinstance(folder, Path) else tuple(folder)
        gate = asyncio.Semaphore(at_a_time)
        tasks = [asyncio.create_task(self._certify_file(gate, fields, path)) for path in paths]
        try:
            for ended in asyncio.as_completed(tasks):
                yield await ended
        finally:
            for task in tasks:
                task.cancel()

    async def _certify_file(
        self, gate: asyncio.Semaphore, fields: dict[str, Any], path: Path
    ) -> FolderItem:
        async with gate:
            try:
                image = await asyncio.to_thread(path.read_bytes)
                return FolderItem(path=path, certification=await self.certify(image, **fields))
            except ClientError as error:
                return FolderItem(path=path, error=error)
            except OSError as error:
                return FolderItem(path=path, error=unreadable(path, error))

    async def cancel(self, certification_id: str) -> None:
        """See `Client.cancel`."""
        await self._run(flows.cancel(certification_id, patience_s=self._patience_s))

    async def models(self) -> dict[str, Any]:
        """See `Client.models`."""
        return await self._run(flows.get_json("/models", patience_s=self._patience_s))

    async def signing_key(self) -> str:
        """See `Client.signing_key`."""
        return await self._run(flows.find_signing_key(patience_s=self._patience_s))

    async def audit(self, certification: Certification) -> dict[str, Any]:
        """See `Client.audit`."""
        return await self._run(flows.audit(certification.content, patience_s=self._patience_s))

    async def _run(self, flow: Flow[T]) -> T:
        answer: Answer = None
        try:
            while True:
                answer = await self._take(advance(flow, answer))
        except StopIteration as stop:
            result: T = stop.value
            return result

    async def _take(self, step: Call | Pause) -> Answer:
        if isinstance(step, Pause):
            await asyncio.sleep(step.seconds)
            return None
        try:
            return await self._http.request(step.method, step.path, **step.arguments)
        except httpx2.TransportError as error:
            return ServiceUnreachable(f"no answer from {self._http.base_url}: {error}")
