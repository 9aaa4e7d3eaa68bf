"""promptsmooth certify without a server."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from app.local.asked import CertifyOptions
from app.local.engine import (
    certify_in_process,
    create_procedure,
    create_request,
    find_model,
    find_prompts,
)
from app.targets import AskedFields
from worker.contract.certificate.document import FinishedResult

Show = Callable[[int], AbstractContextManager[Callable[[int], None]]]


def certify_here(
    image: Path, asked: CertifyOptions, *, data_dir: Path, show: Show
) -> FinishedResult:
    """Certifies one image file in this process.

    Args:
        show: given the samples in all, opens a progress display that takes the samples done.

    Raises:
        ValueError: a value out of range, a folder, or no image.
        models.catalogue.UnknownModel, models.prompts.catalogue.UnknownPrompt: no such thing here.
    """
    if image.is_dir():
        raise ValueError(f"{image} is a folder; expected one image file, or name a --server")
    card, folder = find_model(asked.model or "bundled")
    prompts = find_prompts(data_dir)
    request, prepared = create_request(
        image.read_bytes(),
        card,
        frame=asked.frame,
        window=asked.window,
        sigmas=list(asked.sigmas),
        asked=AskedFields(
            promptings=asked.promptings,
            prompts=asked.prompts,
            template=asked.template,
            class_names=asked.class_names,
        ),
        prompts=prompts,
        procedure=create_procedure(
            asked.procedure,
            n=asked.n,
            n0=asked.n0,
            target_radius=asked.target_radius,
            tolerance=asked.tolerance,
        ),
        alpha=asked.alpha,
        joint=asked.joint,
        attempt=asked.attempt,
    )
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
