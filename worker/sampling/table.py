"""The rounded Gaussian on the image's own grid, as a table of 64-bit thresholds.

J is an integer number of grey levels (1/255) with
P(J = j) = Phi((j + 1/2) / (255 sigma)) - Phi((j - 1/2) / (255 sigma)), so that X + J is exactly a
Gaussian-noised image rounded to the grid (CERTIFICATE 4). A uniform word w means J = j when
T_{j-1} < w < T_j with T_j = floor(2**64 Phi((j + 1/2) / (255 sigma))). A word equal to a threshold
or beyond the table decides nothing: its sample is ambiguous. So no outcome is likelier than it
should be.
"""

import hashlib
import math
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache

import mpmath
import numpy as np
import numpy.typing as npt

LEVELS = 255
MIN_SIGMA, MAX_SIGMA = Decimal("0.001"), Decimal("10")  # X + J fits 16 bits up to here
_TAIL = 9  # the table ends at the first threshold at or beyond 9 standard deviations
_DIGITS = 60
GUIDE_BITS = 16


def parse_sigma(sigma: Decimal | float | int | str) -> Decimal:
    """Sigma as the exact decimal that was written (0.1 is one tenth, not its binary neighbour).

    Raises:
        ValueError: no number, not finite, or outside 0.001 .. 10.
    """
    try:
        value = Decimal(str(sigma))
    except ArithmeticError:
        raise ValueError(f"sigma must be a decimal number, got {str(sigma)[:40]!r}") from None
    if not value.is_finite() or not MIN_SIGMA <= value <= MAX_SIGMA:
        raise ValueError(f"sigma must lie between {MIN_SIGMA} and {MAX_SIGMA}, got {value}")
    return value


def _last_index(sigma: Decimal) -> int:
    return math.ceil(_TAIL * LEVELS * sigma - Decimal("0.5"))


def threshold(j: int, sigma: Decimal | float | int | str) -> int:
    """T_j = floor(2**64 Phi((j + 1/2) / (255 sigma))), exact.

    Args:
        j: noise in grey levels.
        sigma: noise level, pixels scaled to [0, 1]; read as the decimal that was written.

    Raises:
        ValueError: sigma out of range.
    """
    value = parse_sigma(sigma)
    with mpmath.workdps(_DIGITS):
        z = (mpmath.mpf(2 * j + 1) / 2) / (LEVELS * mpmath.mpf(str(value)))
        scaled = mpmath.ldexp(mpmath.ncdf(z), 64)
        floor = mpmath.floor(scaled)
        gap = min(scaled - floor, floor + 1 - scaled)
        if 0 < scaled < 1:  # deep in the tail the floor is 0 however close to it
            return 0
        if gap < mpmath.mpf(10) ** (20 - _DIGITS) and scaled < mpmath.ldexp(1, 64) - 1:
            raise ArithmeticError(f"threshold {j} at sigma {value} is not decided at 60 digits")
        return int(min(floor, mpmath.ldexp(1, 64) - 1))


@dataclass(frozen=True, kw_only=True, eq=False)
class NoiseTable:
    """Everything needed to turn words into J at one sigma.

    Attributes:
        sigma: the exact decimal.
        first_index: j of the first threshold.
        thresholds: T_j ascending, uint64, shape (entries,).
        guide: guide[c] = how many thresholds lie below c * 2**48, int32, shape (2**16 + 1,).
        sha256: digest of sigma, first index and thresholds: names the table in a certificate.
    """

    sigma: Decimal
    first_index: int
    thresholds: npt.NDArray[np.uint64]
    guide: npt.NDArray[np.int32]
    sha256: str


@lru_cache(maxsize=32)
def _create_noise_table(sigma: Decimal) -> NoiseTable:
    last = _last_index(sigma)
    first = -1 - last  # symmetric: T_{-1-j} = 2**64 - 1 - T_j, for 2**64 Phi is no whole number
    upper = [threshold(j, sigma) for j in range(last + 1)]
    lower = [2**64 - 1 - t for t in reversed(upper)]
    thresholds = np.array(lower + upper, dtype=np.uint64)
    cells = np.arange(2**GUIDE_BITS, dtype=np.uint64) << np.uint64(64 - GUIDE_BITS)
    guide = np.append(np.searchsorted(thresholds, cells, side="left"), len(thresholds))
    named = f"rounded gaussian, 255 levels, sigma {sigma.normalize():f}, from {first}\n".encode()
    digest = hashlib.sha256(named + thresholds.astype("<u8").tobytes()).hexdigest()
    for array in (thresholds, guide):
        array.setflags(write=False)
    return NoiseTable(
        sigma=sigma,
        first_index=first,
        thresholds=thresholds,
        guide=guide.astype(np.int32),
        sha256=digest,
    )


def create_noise_table(sigma: Decimal | float | int | str) -> NoiseTable:
    """The table for sigma; built once a process, then kept."""
    return _create_noise_table(parse_sigma(sigma))
