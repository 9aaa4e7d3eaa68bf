"""What an audit log entry says about a job: ids, digests and numbers only."""

import hashlib
from collections.abc import Sequence
from typing import Any

from models.prompts.cards import PromptCard
from worker.contract import CertificationJob, CertifyRequest
from worker.contract.certificate import document
from worker.contract.learning import FailedLearning, FinishedLearning, LearningJob, LearningResult
from worker.contract.request import canonical_bytes


def describe_jobs(jobs: Sequence[CertificationJob]) -> dict[str, Any]:
    """Certifications that were sent together and differ only in their images."""
    request = jobs[0].request
    return {
        "batch_id": jobs[0].batch_id,
        "model": request.model.model_dump(),
        "promptings": [target.prompting for target in request.targets],
        "sigmas": [str(sigma) for sigma in request.sigmas],
        "alpha": str(request.alpha),
        "procedure": request.procedure.model_dump(mode="json", exclude_none=True),
        "joint": request.joint,
        "attempt": request.attempt,
        "jobs": [
            {
                "certification_id": job.id,
                "image_sha256": job.request.input.sha256,
                "request_sha256": _digest(job.request),
            }
            for job in jobs
        ],
    }


def describe_learning(job: LearningJob) -> dict[str, Any]:
    """A learning job: its images, its model and its prompt id."""
    images = "".join(f"{image.sha256}:{image.class_index}\n" for image in job.request.images)
    return {
        "learning_id": job.id,
        "prompt_id": job.request.prompt_id,
        "model": job.request.model.model_dump(),
        "images": len(job.request.images),
        "images_sha256": hashlib.sha256(images.encode()).hexdigest(),
    }


def describe_outcome(job: CertificationJob, result: document.CertificationResult) -> dict[str, Any]:
    """How a certification ended. The signature identifies the document that a lab keeps."""
    ended: dict[str, Any] = {
        "key_id": job.owner,
        "request_id": job.request_id,
        "certification_id": job.id,
        "image_sha256": job.request.input.sha256,
        "status": result.status,
    }
    match result:
        case document.FinishedResult():
            ended["signature"] = result.signature and result.signature.value
            ended["certificates"] = [_describe_certificate(one) for one in result.certificates]
        case document.FailedResult():
            ended["code"] = result.failure.code
    return ended


def _describe_certificate(one: document.CertificateDocument) -> dict[str, Any]:
    """Numbers only. The class is given by its index; the request's digest covers the names."""
    shown = {"sigma": str(one.sigma), "prompting": one.prompting, "outcome": one.outcome}
    if isinstance(one, document.CertifiedDocument):
        return {**shown, "class_index": one.class_index, "radius": str(one.radius)}
    return shown


def describe_learning_outcome(job: LearningJob, result: LearningResult) -> dict[str, Any]:
    """How a learning job ended: the digest of the prompt, or why there is none."""
    ended: dict[str, Any] = {
        "key_id": job.owner,
        "learning_id": job.id,
        "prompt_id": job.request.prompt_id,
        "status": result.status,
    }
    match result:
        case FinishedLearning():
            ended["prompt_sha256"] = result.prompt_sha256
        case FailedLearning():
            ended["code"] = result.failure.code
    return ended


def describe_prompt(card: PromptCard) -> dict[str, Any]:
    """An imported prompt."""
    return {"prompt_id": card.id, "prompt_sha256": card.sha256, "model": card.model}


def _digest(request: CertifyRequest) -> str:
    """The digest of everything that can change a certificate, also class names and templates."""
    return hashlib.sha256(canonical_bytes(request.identity())).hexdigest()
