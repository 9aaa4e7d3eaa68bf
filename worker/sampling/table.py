"""The rounded Gaussian on the image's own grid, as a table of 64-bit thresholds.

J is an integer number of grey levels (1/255) with
P(J = j) = Phi((j + 1/2) / (255 sigma)) - Phi((j - 1/2) / (255 sigma)), so that X + J is exactly a
Gaussian-noised image rounded to the grid (CERTIFICATE 4). A uniform 64-bit word w means J = j when
T_{j-1} < w < T_j with T_j = floor(2**64 Phi((j + 1/2) / (255 sigma))). A word that equals a
threshold or lies beyond the table determines no J, and its sample is ambiguous. No value of J is
therefore likelier than it should be.
"""

import hashlib
import math
import threading
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property, lru_cache

import mpmath
import numpy as np
import numpy.typing as npt

LEVELS = 255
MIN_SIGMA, MAX_SIGMA = Decimal("0.001"), Decimal("10")  # X + J fits into 16 bits up to MAX_SIGMA
_TAIL = 9  # the table ends at the first threshold at or beyond 9 standard deviations
_DIGITS = 70
_FRACTION_BITS = 96  # fraction bits of a scaled threshold, used to decide its floor
_SAFE_BITS = 64  # an error below 2**-64 cannot change a floor that `_decided_floor` accepts
_WORK_BITS = 224  # fraction bits of the fixed-point numbers in the Taylor steps
_TOP = 2**64
_MP = mpmath.MPContext()  # a private context: all threads share mpmath's global precision
_MP.dps = _DIGITS
_LOCK = threading.Lock()
GUIDE_BITS = 16


def parse_sigma(sigma: Decimal | float | int | str) -> Decimal:
    """Sigma as the exact decimal that was written: 0.1 is one tenth, not its binary neighbour.

    Raises:
        ValueError: sigma is not a number, not finite, or outside 0.001 .. 10.
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
    """The exact T_j = floor(2**64 Phi((j + 1/2) / (255 sigma))).

    Args:
        j: noise in grey levels (1/255).
        sigma: standard deviation of the noise, in pixels scaled to [0, 1]; read as the decimal
            that was written.

    Raises:
        ValueError: sigma is out of range.
    """
    with _LOCK:
        return _floor_of_scaled(_phi(j, parse_sigma(sigma)))


def _phi(j: int, sigma: Decimal) -> mpmath.mpf:
    """Phi((j + 1/2) / (255 sigma)) at 70 digits. The caller holds the lock."""
    return _MP.ncdf(_MP.mpf(2 * j + 1) / 2 / (LEVELS * _MP.mpf(str(sigma))))


def _floor_of_scaled(p: mpmath.mpf) -> int:
    scaled = _MP.ldexp(p, 64)
    return _decided_floor(int(_MP.floor(_MP.ldexp(scaled, _FRACTION_BITS))))


def _decided_floor(fixed: int) -> int:
    """floor(fixed / 2**_FRACTION_BITS).

    A threshold within 2**-_SAFE_BITS of 0 or of 2**64 lies so deep in a tail that its floor is not
    in doubt: it is 0 or 2**64 - 1.

    Raises:
        ArithmeticError: an error of 2**-_SAFE_BITS could change the floor.
    """
    whole, fraction = divmod(fixed, 1 << _FRACTION_BITS)
    doubt = 1 << (_FRACTION_BITS - _SAFE_BITS)
    if whole <= 0 and fraction < (1 << _FRACTION_BITS) - doubt:
        return 0
    if whole >= _TOP - 1 and (whole >= _TOP or fraction >= doubt):
        return _TOP - 1
    if not doubt <= fraction < (1 << _FRACTION_BITS) - doubt:
        raise ArithmeticError(f"a threshold near {whole} is not decided at {_DIGITS} digits")
    return whole


@dataclass(frozen=True, kw_only=True, eq=False)
class NoiseTable:
    """Everything needed to turn words into J at one sigma.

    Attributes:
        sigma: the exact decimal.
        first_index: j of the first threshold.
        thresholds: T_j in ascending order, uint64, shape (entries,).
        guide: guide[c] is the number of thresholds below c * 2**48, int32, shape (2**16 + 1,).
        sha256: digest of sigma, first index and thresholds. It identifies the table in a
            certificate.
    """

    sigma: Decimal
    first_index: int
    thresholds: npt.NDArray[np.uint64]
    guide: npt.NDArray[np.int32]
    sha256: str

    @cached_property
    def decided(self) -> npt.NDArray[np.uint16]:
        """guide[c] where no word of cell c needs a comparison, otherwise 0; shape (2**16,).

        It is half as large as `guide`, so more of it stays in a processor's nearest cache.
        """
        low, high = self.guide[:-1], self.guide[1:]
        last = min(len(self.thresholds), 2**16)  # what uint16 holds is more than sigma 10 needs
        return np.where((low == high) & (low < last), low, 0).astype(np.uint16)


def _upper_thresholds(sigma: Decimal, last: int) -> list[int]:
    """T_0 .. T_last, by Taylor steps of Phi in fixed point, checked against mpmath at the end.

    With y = Phi'(z), y' = -z y. Each Taylor coefficient of Phi at a grid point therefore follows
    from the two before it: a_1 = y, (n + 2)(n + 1) a_{n+2} = -z (n + 1) a_{n+1} - n a_n. A step of
    h = 1/(255 sigma) takes a few dozen integer additions, where one evaluation by mpmath takes
    thousands.
    """
    h = _fixed(_MP.mpf(1) / (LEVELS * _MP.mpf(str(sigma))))
    z = h >> 1
    value, density = _fixed(_phi(0, sigma)), _fixed(_MP.npdf(_MP.ldexp(z, -_WORK_BITS)))
    found = []
    for _ in range(last + 1):
        found.append(_decided_floor(value >> (_WORK_BITS - 64 - _FRACTION_BITS)))
        value, density = _step(value, density, z, h)
        z += h
    beyond = _fixed(_phi(last + 1, sigma))
    if abs(value - beyond) >> (_WORK_BITS - 64 - _SAFE_BITS - 8):
        raise ArithmeticError(f"the thresholds at sigma {sigma} lost digits on the way")
    return found


def _fixed(x: mpmath.mpf) -> int:
    return int(_MP.floor(_MP.ldexp(x, _WORK_BITS)))


def _step(value: int, density: int, z: int, h: int) -> tuple[int, int]:
    """Phi and its density at z + h, from their values at z, all in fixed point."""
    before, now = 0, density  # (n - 1) a_{n-1} h^(n-2) and n a_n h^(n-1)
    total, slope = value, 0
    n = 1
    while now or before:
        total += (now * h >> _WORK_BITS) // n
        slope += now
        after = -((z * now + before * h >> _WORK_BITS) * h >> _WORK_BITS) // n
        before, now = now, after
        n += 1
    return total, slope


@lru_cache(maxsize=64)
def _create_noise_table(sigma: Decimal) -> NoiseTable:
    last = _last_index(sigma)
    first = -1 - last  # T_{-1-j} = 2**64 - 1 - T_j, because 2**64 Phi is never a whole number
    upper = _upper_thresholds(sigma, last)
    lower = [_TOP - 1 - t for t in reversed(upper)]
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
    """The table for sigma, built by one thread once per process and then cached.

    Raises:
        ValueError: sigma is out of range.
    """
    with _LOCK:
        return _create_noise_table(parse_sigma(sigma))
