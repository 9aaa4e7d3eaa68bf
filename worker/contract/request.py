"""A request for certificates: all that is fixed before the noise key exists.

Every value is frozen and checked when made; an object that exists is valid. Numbers that decide
noise (sigma, alpha) travel as the decimal that was written, so that no binary rounding lies
between the request and the certificate.
"""

import hashlib
from decimal import ROUND_CEILING, Context, Decimal, localcontext
from typing import Annotated, Any, Literal, Self

import rfc8785
from pydantic import Field, model_validator

from models.catalogue.cards import Sha256
from worker.certification.schedule import LEAST_GROWTH, plan_parts
from worker.contract.quantities import Alpha, Contract, NoiseLevels, Radius, Samples, Tolerance
from worker.contract.targets import (
    MAX_TARGETS,
    FewShotZeroShotTarget,
    PromptRef,
    RoutedTarget,
    Target,
    TunedTarget,
    ZeroShotTarget,
)

SCHEMA_VERSION = 1
_ANY_ALPHA = 0.001  # the sizes of a schedule do not depend on it
_SMALLEST_ALPHA = Decimal("1e-12")  # more digits would not survive JSON


class InputImage(Contract):
    """The certified image: 8 bit, (3, height, width), and how it was read from the file.

    `sha256` is the digest of the prepared integers, not of the file: the same picture in another
    encoding is the same input.
    """

    sha256: Sha256
    height: int = Field(ge=1, le=2048)
    width: int = Field(ge=1, le=2048)
    source: str
    window: tuple[float, float] | None = None
    window_origin: Literal["request", "file", "percentile", "none"] = "none"
    frame: int = Field(default=0, ge=0)
    frames: int = Field(default=1, ge=1)
    notes: tuple[str, ...] = ()


ANY_IMAGE = InputImage(sha256="0" * 64, height=1, width=1, source="none")
"""Stands for an image where only the cost of a request is asked."""


class ModelRef(Contract):
    """A model and the weights it was asked with."""

    id: str
    sha256: Sha256


class CohenParameters(Contract):
    """Procedure `cohen`: n0 samples choose the class, n fresh ones bound its probability."""

    procedure: Literal["cohen"] = "cohen"
    n0: Samples = 100
    n: Samples = 10_000


class StagedParameters(Contract):
    """Procedure `staged`: looks at growing prefixes, at most n_max samples.

    With `target_radius` the question is whether the radius is at least that. Without it, sampling
    ends when n_max would add no more than the share `tolerance`, or when not even
    `minimum_radius` (default: 0.05 sigma) is in reach.

    With `n_cap` the request may go on, part by part, up to so many samples: alpha is spent over the
    whole schedule. `continuations` says how often it went on; it is no part of the canonical
    request, because all parts are one roll.
    """

    procedure: Literal["staged"] = "staged"
    n_max: Samples = 10_000
    target_radius: Radius | None = None
    tolerance: Tolerance = Decimal("0.05")
    minimum_radius: Radius | None = None
    n_cap: Samples | None = Field(default=None, exclude_if=lambda value: value is None)
    continuations: int = Field(default=0, ge=0, exclude_if=lambda value: not value)

    @model_validator(mode="after")
    def _check_parts(self) -> Self:
        if self.n_cap is not None and self.n_cap < LEAST_GROWTH * self.n_max:
            raise ValueError("n_cap must be at least twice n_max")
        if self.continuations >= len(self._ends):
            raise ValueError(f"the schedule has {len(self._ends)} parts")
        return self

    @property
    def _ends(self) -> tuple[int, ...]:
        """The samples at the end of each part."""
        schedule = plan_parts(_ANY_ALPHA, self.n_max, self.n_cap)
        return tuple(schedule.looks[end - 1].n for end in schedule.ends)

    @property
    def most_samples(self) -> int:
        """The most samples up to the end of the part that is asked for."""
        return self._ends[self.continuations]

    def find_next(self) -> "StagedParameters | None":
        """The same with one continuation more; None at the end of the schedule."""
        following = self.continuations + 1
        if following >= len(self._ends):
            return None
        return self.model_copy(update={"continuations": following})


Procedure = Annotated[StagedParameters | CohenParameters, Field(discriminator="procedure")]


class CertifyRequest(Contract):
    """Everything that is fixed before the noise key exists.

    With `joint` all certificates of the request (`images` images x sigmas x targets) hold together
    with probability 1 - alpha, alpha divided equally among them; without it each holds at alpha.
    """

    input: InputImage
    model: ModelRef
    targets: Annotated[tuple[Target, ...], Field(min_length=1, max_length=MAX_TARGETS)]
    sigmas: NoiseLevels
    procedure: Procedure = StagedParameters()
    alpha: Alpha = Decimal("0.001")
    joint: bool = False
    images: int = Field(default=1, ge=1, le=10_000)
    attempt: int = Field(default=0, ge=0, le=10_000)

    @model_validator(mode="after")
    def _check_routed(self) -> Self:
        routed = any(isinstance(target, RoutedTarget) for target in self.targets)
        if routed and not isinstance(self.procedure, StagedParameters):
            raise ValueError("a routed certificate is made by the procedure staged")
        return self

    @property
    def tuned_targets(self) -> tuple[tuple[int, TunedTarget], ...]:
        """The targets whose prompt is tuned on the image, with their places."""
        return tuple(
            (place, target)
            for place, target in enumerate(self.targets)
            if isinstance(target, ZeroShotTarget | FewShotZeroShotTarget)
        )

    @property
    def samples_total(self) -> int:
        """Passes of the image tower that this request asks for at most."""
        return len(self.sigmas) * (self.copies + self._samples_each)

    @property
    def copies(self) -> int:
        """Noisy copies of the image, per noise level, that prompts are tuned on."""
        return max((target.tuning.copies for _, target in self.tuned_targets), default=0)

    @property
    def _samples_each(self) -> int:
        match self.procedure:
            case CohenParameters(n0=n0, n=n):
                return n0 + n
            case StagedParameters() as staged:
                return staged.most_samples

    @property
    def continuations(self) -> int:
        """How often this canonical request went on."""
        return getattr(self.procedure, "continuations", 0)

    def find_continued(self) -> "CertifyRequest | None":
        """The same canonical request with the next part of its schedule; None if there is none."""
        staged = self.procedure
        following = staged.find_next() if isinstance(staged, StagedParameters) else None
        return None if following is None else self.model_copy(update={"procedure": following})

    @property
    def certificates_asked(self) -> int:
        """How many certificates share alpha when they are to hold together."""
        return self.images * len(self.sigmas) * len(self.targets)

    @property
    def alpha_each(self) -> float:
        """The error probability of one certificate."""
        return float(self.alpha) / self.certificates_asked if self.joint else float(self.alpha)

    @property
    def alpha_spent(self) -> Decimal:
        """The sum of alpha over the certificates of this image, never rounded down."""
        own = len(self.sigmas) * len(self.targets)
        with localcontext(Context(prec=28, rounding=ROUND_CEILING)):
            spent = own * self.alpha / (self.certificates_asked if self.joint else 1)
            return spent.quantize(_SMALLEST_ALPHA).normalize()

    def identity(self) -> dict[str, Any]:
        """The canonical fields a noise key is derived from: what can change a certificate.

        How the picture was encoded is left out: its integers are what is certified. So are the
        names of prompts, how many images were sent along where alpha is not divided among them,
        and how often the request went on.
        """
        canonical = self.model_dump(
            mode="json", exclude={"input": True, "procedure": {"continuations"}}
        )
        fields = _by_digest(canonical)
        if not self.joint:
            fields["images"] = 1
        return {"schema": SCHEMA_VERSION, "input": self.input.sha256, **fields}


def _by_digest(value: Any) -> Any:
    """The same JSON with every `PromptRef` reduced to its digest and whether it was tuned.

    What a prompt is called and who imported it changes nothing that is certified.
    """
    if isinstance(value, list):
        return [_by_digest(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == PromptRef.model_fields.keys():
        tuned = PromptRef.model_validate(value).is_tuned_on_an_image
        return {"sha256": value["sha256"], "tuned": tuned}
    return {name: _by_digest(entry) for name, entry in value.items()}


def canonical_bytes(request: dict[str, Any]) -> bytes:
    """RFC 8785 form of a request: equal requests are equal bytes, whatever their spelling."""
    return rfc8785.dumps(request)


def request_sha256(request: CertifyRequest, key_commitment: str) -> str:
    """Names a canonical request under one key secret: equal names, equal noise."""
    identity = {"request": request.identity(), "key_commitment": key_commitment}
    return hashlib.sha256(canonical_bytes(identity)).hexdigest()
