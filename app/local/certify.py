"""promptsmooth certify without a server."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from app.local.engine import certify_in_process, find_model, find_prompts, prepare_request
from app.request.certify import CertifyFields
from worker.contract.certificate.document import FinishedResult

Show = Callable[[int], AbstractContextManager[Callable[[int], None]]]


def certify_here(
    image: Path, fields: CertifyFields, *, data_dir: Path, show: Show
) -> FinishedResult:
    """Certifies one image file in this process.

    Args:
        show: opens a progress display. It is given the total number of samples, and returns what
            takes the number done.

    Raises:
        ValueError: a value out of range, a folder, or no image.
        models.catalogue.UnknownModel: there is no such model here.
    """
    if image.is_dir():
        raise ValueError(f"{image} is a folder; expected one image file, or name a --server")
    card, folder = find_model(fields.model or "bundled-2")
    prompts = find_prompts(data_dir)
    request, prepared = prepare_request(image.read_bytes(), card, fields, prompts)
    with show(request.samples_total) as on_samples:
        return certify_in_process(
            request,
            prepared,
            card,
            folder,
            data_dir=data_dir,
            prompts=prompts,
            on_samples=on_samples,
        )
