"""The terms that certificates state, beside those of their run's question.

The header of a run is not signed, and each certificate is. So it is the certificates that say what
was asked.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from worker.contract import CertifyRequest, Identity, Tuning
from worker.contract.certificate.document import (
    AbstainedDocument,
    CertifiedDocument,
    FinishedResult,
)
from worker.evaluation.answered import describe_f
from worker.evaluation.question import EvaluationQuestion, Row
from worker.evaluation.run_file import EvaluatedImage


def find_other_term(question: EvaluationQuestion, image: EvaluatedImage) -> str | None:
    """The first term that a certificate of an image states otherwise than the question.

    Terms are the model, the image, prompting, prompt or template, class names, noise level, alpha
    and its division, and the procedure with its parameters. None: every certificate answers the
    question.
    """
    requests, documents = [*_list_requests(question, image)], (image.result, *image.baselines)
    if [one.model for one in documents] != [one.model for one in requests]:
        return "model"
    if [len(one.certificates) for one in documents] != [one.certificates_asked for one in requests]:
        return "number of certificates"
    if any(one.input != image.result.input for one in documents):
        return "image"
    for row in question.rows:
        asked = _list_asked(requests[row.document], row)
        stated = _list_stated(image.find_certificate(row))
        for name, value in asked.items():
            if (stated.get(name) or None) != (value or None):  # what is not stated is nothing
                return name
    return None


def _list_requests(question: EvaluationQuestion, image: EvaluatedImage) -> Iterator[CertifyRequest]:
    described = image.result.input
    yield question.create_request(described)
    yield from (question.create_baseline_request(described, one) for one in question.baselines)


def _list_asked(request: CertifyRequest, row: Row) -> dict[str, Any]:
    return {
        **dict(row.target),
        **dict(request.procedure),
        "sigma": row.sigma,
        "alpha": request.alpha,
        "joint": request.joint,
        "certificates_in_request": request.certificates_asked,
    }


def _list_stated(certificate: CertifiedDocument | AbstainedDocument) -> dict[str, Any]:
    """The fields of a certificate, and those that a target has under another name."""
    tuned, routing = certificate.adaptation, certificate.routing
    return {
        **dict(certificate),
        "prompt": certificate.started_from or certificate.prompt,
        "tuning": tuned and Tuning(**tuned.model_dump(include=set(Tuning.model_fields))),
        "bank": routing and routing.bank,
    }


def names_f(question: EvaluationQuestion, images: Sequence[EvaluatedImage]) -> bool:
    """Whether each f that the question names certified an image of the run.

    Several hosts of a service may differ in f, and the question names that of the first image. Of
    an f without a fingerprint, tau is measured anew in each sitting.
    """
    named = (question.identity, *(one.identity for one in question.baselines))
    documents = zip(*((image.result, *image.baselines) for image in images), strict=True)
    return all(
        any(_is_of(one, identity) for one in made)
        for identity, made in zip(named, documents, strict=True)
    )


def _is_of(result: FinishedResult, identity: Identity) -> bool:
    said = describe_f(result, identity.architecture)
    if identity.fingerprint is None:
        said = said.model_copy(update={"tau": identity.tau})
    return said == identity
