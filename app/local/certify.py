"""promptsmooth certify without a server."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from app.local.engine import certify_in_process, find_model, find_prompts, prepare_request
from app.local.go_on import continue_request
from app.request.certify import CertifyFields
from app.request.reach import find_note
from worker.contract.certificate.document import FinishedResult
from worker.contract.witness import FinishedWitness

Show = Callable[[int], AbstractContextManager[Callable[[int], None]]]


def certify_here(
    image: Path,
    fields: CertifyFields,
    *,
    data_dir: Path,
    show: Show,
    say: Callable[[str], None] = lambda _: None,
    before: FinishedResult | None = None,
    on_signed: Callable[[FinishedResult], None] = lambda _: None,
    on_witness: Callable[[FinishedWitness], None] = lambda _: None,
) -> FinishedResult:
    """Certifies one image file in this process.

    Args:
        show: opens a progress display. It is given the total number of samples, and returns what
            takes the number done.
        say: takes the sentence where the samples cannot prove the radius asked for.
        before: the certificate to go on from.
        on_signed: takes the certificate, before a witness is looked for.
        on_witness: takes the witness, if the fields ask for one.

    Raises:
        ValueError: a value out of range, a folder, or no image.
        models.catalogue.UnknownModel: there is no such model here.
    """
    if image.is_dir():
        raise ValueError(f"{image} is a folder; expected one image file, or name a --server")
    card, folder = find_model(fields.model or "bundled-2")
    prompts = find_prompts(data_dir)
    request, prepared = prepare_request(image.read_bytes(), card, fields, prompts)
    if before is not None:
        request = continue_request(request, before)
    if (note := find_note(request)) is not None:
        say(note)
    with show(request.samples_total) as on_samples:
        return certify_in_process(
            request,
            prepared,
            card,
            folder,
            data_dir=data_dir,
            prompts=prompts,
            on_samples=on_samples,
            before=before,
            on_signed=on_signed,
            on_witness=on_witness if fields.witness else None,
        )
