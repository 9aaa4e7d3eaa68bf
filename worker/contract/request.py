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
    """

    procedure: Literal["staged"] = "staged"
    n_max: Samples = 10_000
    target_radius: Radius | None = None
    tolerance: Tolerance = Decimal("0.05")
    minimum_radius: Radius | None = None


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
            case StagedParameters(n_max=n_max):
                return n_max

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
        names of prompts, and how many images were sent along where alpha is not divided among them.
        """
        fields = _by_digest(self.model_dump(mode="json", exclude={"input"}))
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
