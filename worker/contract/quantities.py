"""What contracts are made of: their base, and the quantities that a request names."""

from decimal import Decimal
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer

MAX_SIGMAS = 16
MAX_PROBED = 1024  # rows of one question about gradients or plain answers
MAX_SAMPLES = 1_000_000  # of one phase of one certificate; the app's own limit is lower


def _plain(value: Decimal) -> str:
    """The shortest spelling of a decimal: 0.50 and 5e-1 are both 0.5."""
    return f"{value.normalize():f}"


def _check_sigma(value: Decimal) -> Decimal:
    if not Decimal("0.001") <= value <= Decimal("10"):
        raise ValueError(f"sigma must lie between 0.001 and 10, got {_plain(value)}")
    return value.normalize()


def _check_alpha(value: Decimal) -> Decimal:
    if not Decimal("1e-12") <= value < Decimal("0.5"):
        raise ValueError(f"alpha must lie between 1e-12 and 0.5, got {value}")
    return value.normalize()


def _check_noise_levels(sigmas: tuple[Decimal, ...]) -> tuple[Decimal, ...]:
    """Ascending, so that another order of the same values is the same request."""
    if len(set(sigmas)) != len(sigmas):
        raise ValueError("each sigma may be named once")
    return tuple(sorted(sigmas))


_AsText = PlainSerializer(_plain, return_type=str)
Sigma = Annotated[
    Decimal, Field(allow_inf_nan=False, max_digits=12), AfterValidator(_check_sigma), _AsText
]
Alpha = Annotated[
    Decimal, Field(allow_inf_nan=False, max_digits=16), AfterValidator(_check_alpha), _AsText
]
NoiseLevels = Annotated[
    tuple[Sigma, ...],
    Field(min_length=1, max_length=MAX_SIGMAS),
    AfterValidator(_check_noise_levels),
]
Radius = Annotated[Decimal, Field(gt=0, le=1000, max_digits=12, allow_inf_nan=False), _AsText]
Tolerance = Annotated[Decimal, Field(ge=0, lt=1, max_digits=12, allow_inf_nan=False), _AsText]
Samples = Annotated[int, Field(ge=1, le=MAX_SAMPLES)]


class Contract(BaseModel):
    """Base of everything that is stored or sent."""

    model_config = ConfigDict(frozen=True, extra="forbid")
