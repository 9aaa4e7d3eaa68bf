"""The synchronous client."""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx2

from app.client import flows
from app.client.answers import Certification
from app.client.calls import Answer, Call, Flow, Image, Pause, advance
from app.client.connection import Connected
from app.client.errors import ClientError, ServiceUnreachable, as_client_error
from app.client.events import Event, Following
from app.client.flows import OnProgress
from app.client.folder import FolderItem, find_images
from app.client.routes import at

T = TypeVar("T")


class Client(Connected[httpx2.Client]):
    """The service at one address. Close it after use; it is a context manager.

    Args:
        url: the service's address.
        api_key: a key from `promptsmooth keys add`, sent in a header and never in an address. White
            space around it is ignored.
        verify: a file with the certificates of the authorities to trust; False checks none.
        timeout_s: the longest silence within one call.
        patience_s: how long to retry while the service is busy or away; counts pauses and
            unanswered calls.
        allow_plain_http: send the key to another machine over http.

    Raises:
        UnsafeAddress: the address cannot be used.
        KeyUnusable: the key has characters that a header cannot hold.
    """

    _kind = httpx2.Client

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def submit(self, image: Image, **fields: Any) -> Certification:
        """Submits one image file; the fields are those of POST /certify (sigma, model, ...).

        Numbers can be text, `Decimal` or float; `targets` is a list, `window` a pair.

        Returns:
            the job, which the service will not lose from now on.

        Raises:
            ServiceRefused: nothing was queued; the sentence says why.
            ServiceUnreachable: there was no answer.
        """
        return self._run(flows.submit(image, fields, patience_s=self._patience_s))

    def get(self, certification_id: str) -> Certification:
        """A job as it stands now."""
        return self._run(flows.find(certification_id, patience_s=self._patience_s))

    def wait(
        self,
        certification_id: str,
        *,
        timeout_s: float | None = None,
        on_progress: OnProgress | None = None,
    ) -> Certification:
        """Waits until a job has ended; check its `status`.

        Raises:
            NotFinished: it did not end within `timeout_s`; the job continues.
        """
        flow = flows.wait(
            certification_id,
            timeout_s=timeout_s,
            on_progress=on_progress,
            patience_s=self._patience_s,
        )
        return self._run(flow)

    def certify(
        self,
        image: Image,
        *,
        timeout_s: float | None = None,
        on_progress: OnProgress | None = None,
        **fields: Any,
    ) -> Certification:
        """`submit`, then `wait`."""
        job = self.submit(image, **fields)
        return self.wait(job.id, timeout_s=timeout_s, on_progress=on_progress)

    def certify_folder(
        self, folder: Path | Sequence[Path], *, at_a_time: int = 8, **fields: Any
    ) -> Iterator[FolderItem]:
        """Certifies every image of a folder as its own job; yields each file when its job ends.

        A refused file does not stop the others: its item has the error.

        Raises:
            ValueError: the folder has no image.
        """
        paths = find_images(folder) if isinstance(folder, Path) else tuple(folder)
        work = partial(self._certify_file, fields)
        with ThreadPoolExecutor(at_a_time) as pool:
            futures = [pool.submit(work, path) for path in paths]
            try:
                for future in as_completed(futures):
                    yield future.result()
            finally:
                pool.shutdown(cancel_futures=True)

    def _certify_file(self, fields: dict[str, Any], path: Path) -> FolderItem:
        try:
            return FolderItem(path=path, certification=self.certify(path, **fields))
        except ClientError as error:
            return FolderItem(path=path, error=error)

    def cancel(self, certification_id: str) -> None:
        """Ends a queued or running job; removes one that has ended.

        If the service's answer is lost on the way, a job that has ended by then is kept.
        """
        self._run(flows.cancel(certification_id, patience_s=self._patience_s))

    def list(self, **filters: Any) -> Iterator[dict[str, Any]]:
        """Certifications, newest first, over all pages; filters as in GET /certifications."""
        page = self._run(self._routes.page(None, filters))
        while True:
            yield from page["certifications"]
            if page["next"] is None:
                return
            page = self._run(self._routes.page(page["next"], filters))

    def events(self, certification_id: str) -> Iterator[Event]:
        """Each new state of a job as the service tells it; the last is "done" or "gone".

        A stream that was cut off is opened again where it was.

        Raises:
            ServiceRefused: the certification is not known, or another refusal that is final.
            ServiceUnreachable: nothing came for as long as patience lasts.
        """
        following = Following(certification_id, patience_s=self._patience_s)
        while not following.ended:
            try:
                with self._stream(following) as answer:
                    for line in answer.iter_lines():
                        yield from following.read(line)

                lost: ClientError = ServiceUnreachable("the stream of events was cut off")
            except (httpx2.TransportError, ClientError) as error:
                lost = as_client_error(error, self._http.base_url)
            if not following.ended:
                time.sleep(following.lose(lost))

    @contextmanager
    def _stream(self, following: Following) -> Iterator[httpx2.Response]:
        stream = self._http.stream("GET", following.path, headers=following.headers)
        with stream as answer:
            if not answer.is_success:
                answer.read()
                raise flows.read_problem(answer)
            yield answer

    def submit_batch(self, images: Sequence[Image], **fields: Any) -> dict[str, Any]:
        """Submits several images together: the batch, or the certification of a single image."""
        return self._run(flows.submit_batch(images, fields, patience_s=self._patience_s))

    def batch(self, batch_id: str) -> dict[str, Any]:
        """GET /batches/{id}: the certifications of a batch as they stand."""
        return self._run(self._routes.get(at("batches", batch_id)))

    def cancel_batch(self, batch_id: str) -> None:
        """Ends what is queued or running in a batch; removes one that has ended."""
        self._run(self._routes.delete(at("batches", batch_id)))

    def preview(self, image: Image, **fields: Any) -> dict[str, Any]:
        """POST /preview: the image as it would be certified; nothing is kept."""
        return self._run(self._routes.post("/preview", {"image": [image]}, fields))

    def report(self, certification_id: str) -> bytes:
        """The report to print, as the bytes of a PDF."""
        return self._run(
            self._routes.download(at("certifications", certification_id, "report.pdf"))
        )

    def input_image(self, certification_id: str) -> bytes:
        """The certified 8-bit image, as the bytes of a PNG."""
        return self._run(self._routes.download(at("certifications", certification_id, "input.png")))

    def noisy_image(self, certification_id: str, *, sigma: str) -> bytes:
        """What a noise level looks like on the image, as the bytes of a PNG: an illustration."""
        path = at("certifications", certification_id, "noisy.png")
        return self._run(self._routes.download(path, sigma=sigma))

    def votes(
        self, certification_id: str, *, sample: Sequence[int], **query: Any
    ) -> dict[str, Any]:
        """Single votes with their proofs; queries are those of GET /certifications/{id}/votes."""
        path = at("certifications", certification_id, "votes")
        return self._run(self._routes.get(path, sample=[*sample], **query))

    def models(self) -> dict[str, Any]:
        """GET /models."""
        return self._run(self._routes.get("/models"))

    def model(self, model_id: str) -> dict[str, Any]:
        """GET /models/{id}."""
        return self._run(self._routes.get(at("models", model_id)))

    def prompts(self, *, model: str | None = None) -> dict[str, Any]:
        """GET /prompts, of one model or of all."""
        return self._run(self._routes.get("/prompts", model=model))

    def prompt(self, prompt_id: str) -> dict[str, Any]:
        """GET /prompts/{id}, by its id or its digest."""
        return self._run(self._routes.get(at("prompts", prompt_id)))

    def prompt_values(self, prompt_id: str) -> bytes:
        """The values of a prompt, as the bytes of a safetensors file."""
        return self._run(self._routes.download(at("prompts", prompt_id, "ctx.safetensors")))

    def import_prompt(self, file: Image, **fields: Any) -> dict[str, Any]:
        """POST /prompts: a prompt learned elsewhere, from a file or its bytes."""
        return self._run(self._routes.post("/prompts", {"file": [file]}, fields))

    def remove_prompt(self, prompt_id: str) -> None:
        """Removes a prompt. Its id names no other prompt from now on."""
        self._run(self._routes.delete(at("prompts", prompt_id)))

    def learn(self, archive: Image, **fields: Any) -> dict[str, Any]:
        """POST /prompts/learn from a zip file with a folder of images for each class; the job."""
        return self._run(self._routes.post("/prompts/learn", {"zip": [archive]}, fields))

    def prompt_job(self, job_id: str) -> dict[str, Any]:
        """GET /prompt-jobs/{id}: where a learning stands."""
        return self._run(self._routes.get(at("prompt-jobs", job_id)))

    def cancel_prompt_job(self, job_id: str) -> None:
        """Ends a learning that is queued or running."""
        self._run(self._routes.delete(at("prompt-jobs", job_id)))

    def ready(self) -> dict[str, Any]:
        """GET /readyz. Raises `ServiceRefused`, code `not_ready`, while something is missing."""
        return self._run(self._routes.get("/readyz"))

    def version(self) -> dict[str, Any]:
        """GET /version."""
        return self._run(self._routes.get("/version"))

    def metrics(self) -> str:
        """GET /metrics, in the text form of Prometheus."""
        return (self._run(self._routes.download("/metrics"))).decode()

    def signing_key(self) -> str:
        """The public key of the service's signatures, in base64. Compare it once, then keep it."""
        return self._run(flows.find_signing_key(patience_s=self._patience_s))

    def audit(self, certification: Certification) -> dict[str, Any]:
        """The service's own audit of a certificate. `verify` is the one that trusts nobody."""
        return self._run(flows.audit(certification.content, patience_s=self._patience_s))

    def _run(self, flow: Flow[T]) -> T:
        answer: Answer = None
        try:
            while True:
                answer = self._take(advance(flow, answer))
        except StopIteration as stop:
            result: T = stop.value
            return result

    def _take(self, step: Call | Pause) -> Answer:
        if isinstance(step, Pause):
            time.sleep(step.seconds)
            return None
        try:
            return self._http.request(step.method, step.path, **step.arguments)
        except httpx2.TransportError as error:
            return ServiceUnreachable(f"no answer from {self._http.base_url}: {error}")
