"""The question of an evaluation: everything that would make it another experiment if changed."""

from typing import Annotated, Literal

from pydantic import Field

from models.catalogue.cards import Sha256
from worker.contract import (
    MAX_TARGETS,
    Alpha,
    CertifyRequest,
    Contract,
    Identity,
    InputImage,
    NoiseLevels,
    Procedure,
    Target,
)

_WORDS = {
    "images": "number of images",
    "listing_sha256": "choice or content of the images",
    "identity": "model, device, number of threads or version",
    "targets": "prompting, prompt, class name or template",
    "sigmas": "set of noise levels",
    "key_commitment": "secret",
}


class EvaluationQuestion(Contract):
    """The header of a run. Its images may be certified in several sittings, under one question.

    All targets and noise levels of an image form one request. They share its noise and its image
    features, so every prompting is judged on the same draws.
    """

    schema_version: Literal[1] = 1
    dataset: str
    split: str
    images: int = Field(ge=1)
    seed: int
    listing_sha256: Sha256
    identity: Identity
    targets: Annotated[tuple[Target, ...], Field(min_length=1, max_length=MAX_TARGETS)]
    sigmas: NoiseLevels
    procedure: Procedure
    alpha: Alpha
    key_commitment: Sha256

    def create_request(self, described: InputImage) -> CertifyRequest:
        """The request for one image, fixed before its noise keys exist."""
        return CertifyRequest(
            input=described,
            model=self.identity.model,
            targets=self.targets,
            sigmas=self.sigmas,
            procedure=self.procedure,
            alpha=self.alpha,
        )

    def find_difference(self, other: "EvaluationQuestion") -> str | None:
        """The first field in which two questions differ, in words; None if they are the same."""
        for field in type(self).model_fields:
            if getattr(self, field) != getattr(other, field):
                return _WORDS.get(field, field)
        return None
