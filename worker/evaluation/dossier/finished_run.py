"""Reads a finished run, and finds out whether its results follow from its certificates."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from models.files.untrusted_text import parse_strict
from worker.contract.certificate.audit import audit_document
from worker.evaluation.dossier.terms import find_other_term, names_f
from worker.evaluation.noiseless import Noiseless
from worker.evaluation.question import EvaluationQuestion
from worker.evaluation.results import Arm, EvaluationResults, create_results, order_images
from worker.evaluation.run_file import RUN_FILE, EvaluatedImage, Line, SkippedImage
from worker.sampling.table import create_noise_table

RESULTS_FILE = "results.json"
_LINE: TypeAdapter[Line] = TypeAdapter(Line)


class RunNotSound(ValueError):
    """A run is not finished, or its parts do not belong together."""


@dataclass(frozen=True, kw_only=True)
class FinishedRun:
    """A run whose certificates all hold, and whose results follow from them.

    Attributes:
        images: the certified images, in order.
        results: its results, checked.
        signer: the public key that signed every certificate, in base64.
        run_sha256, results_sha256: the digests of the two files.
    """

    images: Sequence[EvaluatedImage]
    results: EvaluationResults
    signer: str
    run_sha256: str
    results_sha256: str


def load_finished_run(folder: Path) -> FinishedRun:
    """The run in a folder, after an audit of every certificate.

    What is measured without noise and by attacks is taken as the results state it: no certificate
    shows it.

    Raises:
        RunNotSound: a file is missing or damaged, an image is missing, a certificate does not hold,
            or the results are not those of the certificates.
    """
    run, stated = (_read(folder, name) for name in (RUN_FILE, RESULTS_FILE))
    try:
        header, *lines = run.splitlines()
        question = EvaluationQuestion.model_validate_json(header)
        found = [_LINE.validate_json(line) for line in lines]
        results = EvaluationResults.model_validate_json(stated)
    except (ValidationError, ValueError) as error:
        raise RunNotSound(f"{folder} does not hold a run of this version") from error
    skipped = [line for line in found if isinstance(line, SkippedImage)]
    images = [line for line in found if isinstance(line, EvaluatedImage)]
    try:
        ordered = order_images(question, images, skipped)
    except ValueError as error:
        raise RunNotSound(f"the run in {folder} is not finished: {error}") from error
    signer = _audit(question, lines)
    _require_derived(question, ordered, skipped, results)
    return FinishedRun(
        images=ordered,
        results=results,
        signer=signer,
        run_sha256=hashlib.sha256(run).hexdigest(),
        results_sha256=hashlib.sha256(stated).hexdigest(),
    )


def _read(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except FileNotFoundError:
        raise RunNotSound(
            f"{folder} has no {name}: name the folder of a finished run of promptsmooth evaluate"
        ) from None


def _audit(question: EvaluationQuestion, lines: Sequence[bytes]) -> str:
    """The one key that signed every certificate. Raises RunNotSound if one does not hold."""
    documents = [document for line in lines for document in _list_documents(line)]
    signer, *others = {str((one.get("signature") or {}).get("public_key")) for one in documents}
    if others:
        raise RunNotSound(f"the run has certificates of {1 + len(others)} signers")
    for number, document in enumerate(documents):
        report = audit_document(document, (signer,), _digest_table)
        failed = next((one for one in report.findings if not one.holds), None)
        if failed is not None:
            raise RunNotSound(f"document {number} of the run does not hold: {failed.sentence}")
        if document["provenance"]["key_commitment"] != question.key_commitment:
            raise RunNotSound(f"document {number} of the run has the noise of another secret")
    return signer


def _list_documents(line: bytes) -> Iterator[dict[str, Any]]:
    parsed = parse_strict(line)
    if "result" in parsed:
        yield from (parsed["result"], *parsed.get("baselines", ()))


@cache
def _digest_table(sigma: Decimal) -> str:
    return create_noise_table(sigma).sha256


def _require_derived(
    question: EvaluationQuestion,
    images: Sequence[EvaluatedImage],
    skipped: Sequence[SkippedImage],
    results: EvaluationResults,
) -> None:
    """Raises RunNotSound unless the certificates give these results, and answer the question."""
    for image in images:
        if (term := find_other_term(question, image)) is not None:
            raise RunNotSound(
                f"image {image.place} of the run was certified for another {term} than the header "
                f"of {RUN_FILE} says"
            )
    if not names_f(question, images):
        raise RunNotSound(
            f"no certificate of the run is of the f that the header of {RUN_FILE} names"
        )
    again = create_results(
        question,
        images,
        radii=[at.radius for at in results.arms[0].at_radius],
        noiseless=[Noiseless(clean=arm.clean, others=arm.others) for arm in results.arms],
        trained=results.trained,
        skipped=skipped,
        tightness=[arm.tightness for arm in results.arms],
    )
    if again != results:
        raise RunNotSound(f"{RESULTS_FILE} does not follow from the certificates in {RUN_FILE}")


def list_rows(run: FinishedRun) -> Iterator[tuple[Arm, Sequence[Any]]]:
    """Each row of the results with its certificates, in the order of the images."""
    for arm, row in zip(run.results.arms, run.results.question.rows, strict=True):
        yield arm, [image.find_certificate(row) for image in run.images]
