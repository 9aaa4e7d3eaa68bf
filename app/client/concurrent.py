"""The asynchronous client."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx2

from app.client import flows
from app.client.answers import Certification
from app.client.calls import Answer, Call, Flow, Image, Pause, advance, read_image
from app.client.connection import Connected
from app.client.errors import ClientError, ServiceUnreachable, as_client_error
from app.client.events import Event, Following
from app.client.flows import OnProgress
from app.client.folder import FolderItem, find_images
from app.client.routes import at

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

    async def submit(
        self, image: Image, *, idempotency_key: str | None = None, **fields: Any
    ) -> Certification:
        """See `Client.submit`."""
        return await self._run(
            flows.submit(image, fields, patience_s=self._patience_s, key=idempotency_key)
        )

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
        image: Image,
        *,
        timeout_s: float | None = None,
        on_progress: OnProgress | None = None,
        **fields: Any,
    ) -> Certification:
        """See `Client.certify`."""
        job = await self.submit(image, **fields)
        return await self.wait(job.id, timeout_s=timeout_s, on_progress=on_progress)

    async def continue_certification(self, certification_id: str) -> Certification:
        """See `Client.continue_certification`."""
        flow = flows.continue_certification(certification_id, patience_s=self._patience_s)
        return await self._run(flow)

    async def witness(
        self, certification_id: str, *, timeout_s: float | None = None
    ) -> dict[str, Any]:
        """See `Client.witness`."""
        flow = flows.wait_for_witness(
            certification_id, timeout_s=timeout_s, patience_s=self._patience_s
        )
        return await self._run(flow)

    async def witness_image(self, certification_id: str, *, certificate: int, which: str) -> bytes:
        """See `Client.witness_image`."""
        path = at("certifications", certification_id, "witness", str(certificate), f"{which}.png")
        return await self._run(self._routes.download(path))

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
                image = await asyncio.to_thread(read_image, path)
                return FolderItem(path=path, certification=await self.certify(image, **fields))
            except ClientError as error:
                return FolderItem(path=path, error=error)

    async def cancel(self, certification_id: str) -> None:
        """See `Client.cancel`."""
        await self._run(flows.cancel(certification_id, patience_s=self._patience_s))

    async def purge(self, certification_id: str) -> None:
        """See `Client.purge`."""
        await self._run(self._routes.delete(at("certifications", certification_id)))

    async def list(self, **filters: Any) -> AsyncIterator[dict[str, Any]]:
        """See `Client.list`."""
        page = await self._run(self._routes.page(None, filters))
        while True:
            for item in page["certifications"]:
                yield item
            if page["next"] is None:
                return
            page = await self._run(self._routes.page(page["next"], filters))

    async def events(self, certification_id: str) -> AsyncIterator[Event]:
        """See `Client.events`."""
        following = Following(certification_id, patience_s=self._patience_s)
        while not following.ended:
            try:
                async with self._stream(following) as answer:
                    async for line in answer.aiter_lines():
                        for event in following.read(line):
                            yield event
                lost: ClientError = ServiceUnreachable("the stream of events was cut off")
            except (httpx2.TransportError, ClientError) as error:
                lost = as_client_error(error, self._http.base_url)
            if not following.ended:
                await asyncio.sleep(following.lose(lost))

    @asynccontextmanager
    async def _stream(self, following: Following) -> AsyncIterator[httpx2.Response]:
        stream = self._http.stream("GET", following.path, headers=following.headers)
        async with stream as answer:
            if not answer.is_success:
                await answer.aread()
                raise flows.read_problem(answer)
            yield answer

    async def submit_batch(self, images: Sequence[Image], **fields: Any) -> dict[str, Any]:
        """See `Client.submit_batch`."""
        return await self._run(flows.submit_batch(images, fields, patience_s=self._patience_s))

    async def batch(self, batch_id: str) -> dict[str, Any]:
        """See `Client.batch`."""
        return await self._run(self._routes.get(at("batches", batch_id)))

    async def wait_batch(
        self,
        batch_id: str,
        *,
        timeout_s: float | None = None,
        on_progress: Callable[[dict[str, Any]], None] | None = None,
    ) -> dict[str, Any]:
        """See `Client.wait_batch`."""
        flow = flows.wait_batch(
            batch_id,
            timeout_s=timeout_s,
            on_progress=on_progress,
            patience_s=self._patience_s,
        )
        return await self._run(flow)

    async def cancel_batch(self, batch_id: str) -> None:
        """See `Client.cancel_batch`."""
        await self._run(self._routes.cancel(at("batches", batch_id)))

    async def preview(self, image: Image, **fields: Any) -> dict[str, Any]:
        """See `Client.preview`."""
        return await self._run(self._routes.post("/preview", {"image": [image]}, fields))

    async def reach(self, **fields: Any) -> dict[str, Any]:
        """See `Client.reach`."""
        return await self._run(self._routes.post_fields("/reach", fields))

    async def report(self, certification_id: str, *, picture: bool = True) -> bytes:
        """See `Client.report`."""
        path = at("certifications", certification_id, "report.pdf")
        return await self._run(self._routes.download(path, picture=None if picture else "false"))

    async def input_image(self, certification_id: str) -> bytes:
        """See `Client.input_image`."""
        return await self._run(
            self._routes.download(at("certifications", certification_id, "input.png"))
        )

    async def noisy_image(self, certification_id: str, *, sigma: str) -> bytes:
        """See `Client.noisy_image`."""
        path = at("certifications", certification_id, "noisy.png")
        return await self._run(self._routes.download(path, sigma=sigma))

    async def yardsticks(self, certification_id: str) -> dict[str, Any]:
        """See `Client.yardsticks`."""
        return await self._run(
            self._routes.get(at("certifications", certification_id, "yardsticks"))
        )

    async def changed_image(self, certification_id: str, *, yardstick: str) -> bytes:
        """See `Client.changed_image`."""
        path = at("certifications", certification_id, "yardsticks", f"{yardstick}.png")
        return await self._run(self._routes.download(path))

    async def votes(
        self, certification_id: str, *, sample: Sequence[int], **query: Any
    ) -> dict[str, Any]:
        """See `Client.votes`."""
        path = at("certifications", certification_id, "votes")
        return await self._run(self._routes.get(path, sample=[*sample], **query))

    async def models(self) -> dict[str, Any]:
        """See `Client.models`."""
        return await self._run(self._routes.get("/models"))

    async def model(self, model_id: str) -> dict[str, Any]:
        """See `Client.model`."""
        return await self._run(self._routes.get(at("models", model_id)))

    async def prompts(self, *, model: str | None = None) -> dict[str, Any]:
        """See `Client.prompts`."""
        return await self._run(self._routes.get("/prompts", model=model))

    async def prompt(self, prompt_id: str) -> dict[str, Any]:
        """See `Client.prompt`."""
        return await self._run(self._routes.get(at("prompts", prompt_id)))

    async def prompt_values(self, prompt_id: str) -> bytes:
        """See `Client.prompt_values`."""
        return await self._run(self._routes.download(at("prompts", prompt_id, "ctx.safetensors")))

    async def import_prompt(self, file: Image, **fields: Any) -> dict[str, Any]:
        """See `Client.import_prompt`."""
        return await self._run(self._routes.post("/prompts", {"file": [file]}, fields))

    async def remove_prompt(self, prompt_id: str) -> None:
        """See `Client.remove_prompt`."""
        await self._run(self._routes.delete(at("prompts", prompt_id)))

    async def learn(self, archive: Image, **fields: Any) -> dict[str, Any]:
        """See `Client.learn`."""
        return await self._run(self._routes.post("/prompts/learn", {"zip": [archive]}, fields))

    async def prompt_job(self, job_id: str) -> dict[str, Any]:
        """See `Client.prompt_job`."""
        return await self._run(self._routes.get(at("prompt-jobs", job_id)))

    async def cancel_prompt_job(self, job_id: str) -> None:
        """See `Client.cancel_prompt_job`."""
        await self._run(self._routes.delete(at("prompt-jobs", job_id)))

    async def datasets(self) -> dict[str, Any]:
        """See `Client.datasets`."""
        return await self._run(self._routes.get("/datasets"))

    async def estimate_evaluation(self, **fields: Any) -> dict[str, Any]:
        """See `Client.estimate_evaluation`."""
        return await self._run(self._routes.post_json("/evaluations/estimate", **fields))

    async def start_evaluation(
        self, *, idempotency_key: str | None = None, **fields: Any
    ) -> dict[str, Any]:
        """See `Client.start_evaluation`."""
        key = idempotency_key or secrets.token_hex(16)
        return await self._run(
            self._routes.post_json("/evaluations", idempotency_key=key, **fields)
        )

    async def evaluations(self) -> dict[str, Any]:
        """See `Client.evaluations`."""
        return await self._run(self._routes.get("/evaluations"))

    async def evaluation(self, evaluation_id: str) -> dict[str, Any]:
        """See `Client.evaluation`."""
        return await self._run(self._routes.get(at("evaluations", evaluation_id)))

    async def evaluation_images(self, evaluation_id: str) -> dict[str, Any]:
        """See `Client.evaluation_images`."""
        return await self._run(self._routes.get(at("evaluations", evaluation_id, "images")))

    async def evaluation_results(self, evaluation_id: str, name: str) -> bytes:
        """See `Client.evaluation_results`."""
        return await self._run(self._routes.download(at("evaluations", evaluation_id, name)))

    async def cancel_evaluation(self, evaluation_id: str) -> None:
        """See `Client.cancel_evaluation`."""
        await self._run(self._routes.cancel(at("evaluations", evaluation_id)))

    async def purge_evaluation(self, evaluation_id: str) -> None:
        """See `Client.purge_evaluation`."""
        await self._run(self._routes.delete(at("evaluations", evaluation_id)))

    async def ready(self) -> dict[str, Any]:
        """See `Client.ready`."""
        return await self._run(self._routes.get("/readyz"))

    async def test_webhook(self, *, callback_url: str | None = None) -> dict[str, Any]:
        """See `Client.test_webhook`."""
        return await self._run(self._routes.post_json("/webhooks/test", callback_url=callback_url))

    async def capacity(self) -> dict[str, Any]:
        """See `Client.capacity`."""
        return await self._run(self._routes.get("/capacity"))

    async def version(self) -> dict[str, Any]:
        """See `Client.version`."""
        return await self._run(self._routes.get("/version"))

    async def metrics(self) -> str:
        """See `Client.metrics`."""
        return (await self._run(self._routes.download("/metrics"))).decode()

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
            self._tell(step)
            await asyncio.sleep(step.seconds)
            return None
        try:
            return await self._http.request(step.method, step.path, **step.arguments)
        except httpx2.TransportError as error:
            return ServiceUnreachable(f"no answer from {self._http.base_url}: {error}")
