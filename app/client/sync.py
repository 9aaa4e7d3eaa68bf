"""The synchronous client."""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
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

    def submit(self, image: bytes, **fields: Any) -> Certification:
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
        image: bytes,
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
            return FolderItem(path=path, certification=self.certify(path.read_bytes(), **fields))
        except ClientError as error:
            return FolderItem(path=path, error=error)
        except OSError as error:
            return FolderItem(path=path, error=unreadable(path, error))

    def cancel(self, certification_id: str) -> None:
        """Ends a queued or running job; removes one that has ended.

        If the service's answer is lost on the way, a job that has ended by then is kept.
        """
        self._run(flows.cancel(certification_id, patience_s=self._patience_s))

    def models(self) -> dict[str, Any]:
        """GET /models."""
        return self._run(flows.get_json("/models", patience_s=self._patience_s))

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
