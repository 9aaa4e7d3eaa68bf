"""The synchronous client."""

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
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
        on_wait: told, each time a call is about to be sent again, why.

    Raises:
        UnsafeAddress: the address cannot be used.
        KeyUnusable: the key has characters that a header cannot hold.
        FileUnreadable: `verify` names no file with certificates.
    """

    _kind = httpx2.Client

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def submit(
        self, image: Image, *, idempotency_key: str | None = None, **fields: Any
    ) -> Certification:
        """Submits one image file; the fields are those of POST /certify (sigma, model, ...).

        Numbers can be text, `Decimal` or float; `targets` is a list, `window` a pair. A program
        that must not submit twice, whatever ends it, gives an `idempotency_key` that it can find
        again: the same key with the same request is the same job.

        Returns:
            the job, which the service will not lose from now on.

        Raises:
            ServiceRefused: nothing was queued; the sentence says why.
            ServiceUnreachable: there was no answer.
        """
        return self._run(
            flows.submit(image, fields, patience_s=self._patience_s, key=idempotency_key)
        )

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

    def continue_certification(self, certification_id: str) -> Certification:
        """The next part of a finished certification that named `n_cap`: a job of its own.

        It goes on from the samples of the first, and counts as no new attempt. Asked again, the
        same job is returned.

        Raises:
            ServiceRefused: it has not finished, or there are no further samples to take.
        """
        flow = flows.continue_certification(certification_id, patience_s=self._patience_s)
        return self._run(flow)

    def witness(self, certification_id: str, *, timeout_s: float | None = None) -> dict[str, Any]:
        """Asks for the witness of a finished certification and waits until it is there.

        It is the smallest change found that changes each answer; see docs/api.md. Check its
        `status`: "finished" or "failed".

        Raises:
            NotFinished: it was not there within `timeout_s`; the search continues.
            ServiceRefused: the certification has not finished, or its image is gone.
        """
        flow = flows.wait_for_witness(
            certification_id, timeout_s=timeout_s, patience_s=self._patience_s
        )
        return self._run(flow)

    def witness_image(self, certification_id: str, *, certificate: int, which: str) -> bytes:
        """The image at which the "smoothed" or "undefended" answer changed, as a PNG's bytes."""
        path = at("certifications", certification_id, "witness", str(certificate), f"{which}.png")
        return self._run(self._routes.download(path))

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
        """Ends a queued or running job. One that has ended stays: `purge` removes it."""
        self._run(flows.cancel(certification_id, patience_s=self._patience_s))

    def purge(self, certification_id: str) -> None:
        """Removes a job that has ended; ends one that is queued or running."""
        self._run(self._routes.delete(at("certifications", certification_id)))

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

    def wait_batch(
        self,
        batch_id: str,
        *,
        timeout_s: float | None = None,
        on_progress: Callable[[dict[str, Any]], None] | None = None,
    ) -> dict[str, Any]:
        """Waits until all images of a batch have ended; `joint_batch` has what they say together.

        `on_progress` is given the batch at each look, the last included.

        Raises:
            NotFinished: they did not end within `timeout_s`; they continue.
        """
        flow = flows.wait_batch(
            batch_id,
            timeout_s=timeout_s,
            on_progress=on_progress,
            patience_s=self._patience_s,
        )
        return self._run(flow)

    def cancel_batch(self, batch_id: str) -> None:
        """Ends what is queued or running in a batch, and removes nothing."""
        self._run(self._routes.cancel(at("batches", batch_id)))

    def preview(self, image: Image, **fields: Any) -> dict[str, Any]:
        """POST /preview: the image as it would be certified; nothing is kept."""
        return self._run(self._routes.post("/preview", {"image": [image]}, fields))

    def reach(self, **fields: Any) -> dict[str, Any]:
        """What these fields could prove at most (POST /reach); nothing is queued."""
        return self._run(self._routes.post_fields("/reach", fields))

    def report(self, certification_id: str, *, picture: bool = True) -> bytes:
        """The report to print, as the bytes of a PDF; without `picture` it shows no image."""
        path = at("certifications", certification_id, "report.pdf")
        return self._run(self._routes.download(path, picture=None if picture else "false"))

    def input_image(self, certification_id: str) -> bytes:
        """The certified 8-bit image, as the bytes of a PNG."""
        return self._run(self._routes.download(at("certifications", certification_id, "input.png")))

    def noisy_image(self, certification_id: str, *, sigma: str) -> bytes:
        """What a noise level looks like on the image, as the bytes of a PNG: an illustration."""
        path = at("certifications", certification_id, "noisy.png")
        return self._run(self._routes.download(path, sigma=sigma))

    def yardsticks(self, certification_id: str) -> dict[str, Any]:
        """Everyday changes of the certified image with their l2 lengths."""
        return self._run(self._routes.get(at("certifications", certification_id, "yardsticks")))

    def changed_image(self, certification_id: str, *, yardstick: str) -> bytes:
        """The certified image under one of these changes, as the bytes of a PNG."""
        path = at("certifications", certification_id, "yardsticks", f"{yardstick}.png")
        return self._run(self._routes.download(path))

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

    def datasets(self) -> dict[str, Any]:
        """GET /datasets: the datasets that lie with the service."""
        return self._run(self._routes.get("/datasets"))

    def estimate_evaluation(self, **fields: Any) -> dict[str, Any]:
        """POST /evaluations/estimate: what an evaluation would take; nothing is started."""
        return self._run(self._routes.post_json("/evaluations/estimate", **fields))

    def start_evaluation(
        self, *, idempotency_key: str | None = None, **fields: Any
    ) -> dict[str, Any]:
        """POST /evaluations: certifies a dataset that lies with the service (dataset, sigma, ...).

        Sent again under the same `idempotency_key`, it is the same evaluation.
        """
        key = idempotency_key or secrets.token_hex(16)
        return self._run(self._routes.post_json("/evaluations", idempotency_key=key, **fields))

    def evaluations(self) -> dict[str, Any]:
        """GET /evaluations: those of the key, newest first."""
        return self._run(self._routes.get("/evaluations"))

    def evaluation(self, evaluation_id: str) -> dict[str, Any]:
        """GET /evaluations/{id}: progress, time left, and the table of what is finished."""
        return self._run(self._routes.get(at("evaluations", evaluation_id)))

    def evaluation_images(self, evaluation_id: str) -> dict[str, Any]:
        """GET /evaluations/{id}/images: what every finished image's certificates say."""
        return self._run(self._routes.get(at("evaluations", evaluation_id, "images")))

    def evaluation_results(self, evaluation_id: str, name: str) -> bytes:
        """A file of a finished evaluation, such as "results.csv" or "images.jsonl"."""
        return self._run(self._routes.download(at("evaluations", evaluation_id, name)))

    def cancel_evaluation(self, evaluation_id: str) -> None:
        """Ends an evaluation that is queued or running, and removes nothing."""
        self._run(self._routes.cancel(at("evaluations", evaluation_id)))

    def purge_evaluation(self, evaluation_id: str) -> None:
        """Removes an evaluation that has ended, with its certifications; ends one that runs."""
        self._run(self._routes.delete(at("evaluations", evaluation_id)))

    def ready(self) -> dict[str, Any]:
        """GET /readyz. Raises `ServiceRefused`, code `not_ready`, while something is missing."""
        return self._run(self._routes.get("/readyz"))

    def test_webhook(self, *, callback_url: str | None = None) -> dict[str, Any]:
        """POST /webhooks/test: a test message to this address, or to the default of the key."""
        return self._run(self._routes.post_json("/webhooks/test", callback_url=callback_url))

    def capacity(self) -> dict[str, Any]:
        """GET /capacity: what could be taken now, and the expected wait."""
        return self._run(self._routes.get("/capacity"))

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
            self._tell(step)
            time.sleep(step.seconds)
            return None
        try:
            return self._http.request(step.method, step.path, **step.arguments)
        except httpx2.TransportError as error:
            return ServiceUnreachable(f"no answer from {self._http.base_url}: {error}")
