"""At how many samples `staged` looks, and how alpha is divided among the looks.

A request with a cap may go on: its schedule runs in parts, of which the first ends at n_max and the
last at the cap. Alpha is spent over all looks of all parts before the first sample is drawn. So by
the union bound all claims of all looks hold together with probability at least 1 - alpha, whoever
decides after each part, on whatever votes, whether to go on.
"""

from dataclasses import dataclass
from functools import lru_cache

from worker.certification.bounds import require_alpha

N_FIRST = 64
_N_LIMIT = 10**12
_LAST_LOOK_FROM = 0.9  # a look at this share of n_max or more is skipped, except n_max itself
LEAST_GROWTH = 2  # a cap is at least this many times n_max


@dataclass(frozen=True, kw_only=True)
class Look:
    """A planned look: its cumulative number of samples and its share of alpha."""

    n: int
    alpha: float


@lru_cache(maxsize=256)
def plan_looks(alpha: float, n_max: int, n_first: int = N_FIRST) -> tuple[Look, ...]:
    """The schedule: n_first, doubled while below 0.9 n_max, then n_max.

    The last look gets half of alpha, and the others share the other half equally. A single look
    gets all of alpha.

    Raises:
        ValueError: a number is out of range.
    """
    require_alpha(alpha)
    *early, last = _double(n_first, n_max)
    return _divide(alpha, early, [last])


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """All looks that a request may ever make, and the number of looks up to each part's end."""

    looks: tuple[Look, ...]
    ends: tuple[int, ...]

    def upto(self, part: int) -> tuple[Look, ...]:
        """The looks of the first parts, up to and including `part`, from 0.

        Raises:
            ValueError: there are fewer parts.
        """
        if not 0 <= part < len(self.ends):
            raise ValueError(f"there are {len(self.ends)} parts, from 0, and no part {part}")
        return self.looks[: self.ends[part]]


@lru_cache(maxsize=256)
def plan_parts(alpha: float, n_max: int, n_cap: int | None = None) -> Schedule:
    """The schedule of a request: one part without a cap, several with one.

    Parts end at n_max, at its doubles below 0.9 n_cap, and at n_cap. There are further looks before
    n_max, as `plan_looks` has them. The ends share half of alpha equally, and the other looks the
    other half; without others the ends share all of alpha.

    Raises:
        ValueError: a number is out of range, or the cap is less than twice n_max.
    """
    if n_cap is None:
        looks = plan_looks(alpha, n_max)
        return Schedule(looks=looks, ends=(len(looks),))
    require_alpha(alpha)
    if n_cap < LEAST_GROWTH * n_max:
        raise ValueError(f"n_cap must be at least {LEAST_GROWTH} n_max, got {n_cap} for {n_max}")
    *early, _ = _double(N_FIRST, n_max)
    ends = _double(n_max, n_cap)
    looks = _divide(alpha, early, ends)
    return Schedule(looks=looks, ends=tuple(range(len(early) + 1, len(looks) + 1)))


def _double(first: int, last: int) -> list[int]:
    """first, doubled while below 0.9 last, then last."""
    for n in (last, first):
        if not isinstance(n, int) or not 1 <= n <= _N_LIMIT:
            raise ValueError(
                f"n_max and n_first must be whole numbers from 1 to {_N_LIMIT}, got {n}"
            )
    sizes = []
    n = first
    while n < _LAST_LOOK_FROM * last:
        sizes.append(n)
        n *= 2
    return [*sizes, last]


def _divide(alpha: float, early: list[int], ends: list[int]) -> tuple[Look, ...]:
    """Half of alpha for the early looks alike, half for the ends alike; all for lone ends."""
    if not early:
        return tuple(Look(n=n, alpha=alpha / len(ends)) for n in ends)
    return (
        *(Look(n=n, alpha=alpha / 2 / len(early)) for n in early),
        *(Look(n=n, alpha=alpha / 2 / len(ends)) for n in ends),
    )
