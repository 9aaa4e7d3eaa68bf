"""The question of an evaluation: everything that would make it another experiment if changed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from models.catalogue.cards import Sha256
from worker.contract import (
    MAX_TARGETS,
    Alpha,
    CertifyRequest,
    Contract,
    Identity,
    InputImage,
    ModelRef,
    NoiseLevels,
    Procedure,
    Sigma,
    Target,
    TemplateTarget,
)

BaselineName = Literal["denoised", "noise-trained"]

_WORDS = {
    "images": "number of images",
    "listing_sha256": "choice or content of the images",
    "identity": "model, device, number of threads or version",
    "targets": "prompting, prompt, class name or template",
    "sigmas": "set of noise levels",
    "key_commitment": "secret",
    "baselines": "set of baselines, or model of a baseline",
}


class BaselineModel(Contract):
    """A model for one noise level that prompts are compared with: another base classifier f.

    `denoised` is the model behind a denoiser for this noise level, `noise-trained` a model that was
    trained with noise. It classifies by the template of the run, on the noise of the run.
    """

    name: BaselineName
    sigma: Sigma
    identity: Identity


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of the tables: one target at one noise level, judged by one model.

    Attributes:
        label: the row's name in tables. It is the same at every noise level.
        baseline: None for a row of the evaluated model.
        document, certificate: where the row's certificates are: the place of the document among
            those of an image, and of the certificate in it.
    """

    label: str
    target: Target
    sigma: Decimal
    model: ModelRef
    baseline: BaselineName | None
    document: int
    certificate: int


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
    # Left out where there is none: such a run is one of the versions before.
    baselines: tuple[BaselineModel, ...] = Field(default=(), exclude_if=lambda found: not found)

    @model_validator(mode="after")
    def _check_baselines(self) -> Self:
        named = [(one.name, one.sigma) for one in self.baselines]
        if len(set(named)) != len(named) or not {sigma for _, sigma in named} <= set(self.sigmas):
            raise ValueError("a baseline has one model for each noise level of the run")
        if self.baselines and self.template is None:
            raise ValueError("a baseline classifies by the template: ask for that prompting too")
        return self

    @property
    def template(self) -> TemplateTarget | None:
        """The target that every row is compared with; None if it was not asked for."""
        return next((t for t in self.targets if isinstance(t, TemplateTarget)), None)

    @property
    def rows(self) -> tuple[Row, ...]:
        """The rows of the tables: by noise level, the targets and then the baselines."""
        return tuple(row for level in range(len(self.sigmas)) for row in self._rows_at(level))

    def _rows_at(self, level: int) -> Iterator[Row]:
        sigma = self.sigmas[level]
        for place, target in enumerate(self.targets):
            yield Row(
                label=create_label(target, self.targets),
                target=target,
                sigma=sigma,
                model=self.identity.model,
                baseline=None,
                document=0,
                certificate=level * len(self.targets) + place,
            )
        for document, one in enumerate(self.baselines, start=1):
            if one.sigma == sigma and self.template is not None:
                yield Row(
                    label=one.name,
                    target=self.template,
                    sigma=sigma,
                    model=one.identity.model,
                    baseline=one.name,
                    document=document,
                    certificate=0,
                )

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

    def create_baseline_request(
        self, described: InputImage, baseline: BaselineModel
    ) -> CertifyRequest:
        """The request for one image and a baseline's model, by the run's template."""
        assert self.template is not None, "a run with baselines has a template"
        return CertifyRequest(
            input=described,
            model=baseline.identity.model,
            targets=(self.template,),
            sigmas=(baseline.sigma,),
            procedure=self.procedure,
            alpha=self.alpha,
        )

    def find_difference(self, other: "EvaluationQuestion") -> str | None:
        """The first field in which two questions differ, in words; None if they are the same.

        Of an f without a fingerprint, tau is measured in each sitting, and each image's document
        has that of its own.
        """
        ours, theirs = (one._without_passing_tau() for one in (self, other))
        for field in type(self).model_fields:
            if getattr(ours, field) != getattr(theirs, field):
                return _WORDS.get(field, field)
        return None

    def _without_passing_tau(self) -> "EvaluationQuestion":
        if self.identity.fingerprint is not None:
            return self
        identity = self.identity.model_copy(update={"tau": None})
        return self.model_copy(update={"identity": identity})


def create_label(target: Target, targets: Sequence[Target]) -> str:
    """A target's name in tables: its prompting, with its prompt if several targets share it."""
    alike = sum(other.prompting == target.prompting for other in targets)
    prompt = getattr(target, "prompt", None)
    if alike == 1 or prompt is None:
        return target.prompting
    return f"{target.prompting} ({prompt.id})"
