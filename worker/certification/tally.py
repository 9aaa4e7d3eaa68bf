"""Vote counts over a complete prefix of samples."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Tally:
    """Votes of samples 0 .. n - 1: one count per class, and the samples that voted for none.

    A sample is ambiguous when its vote is not safe (a near tie, NaN, a noise word on a threshold);
    it counts against the top class, never for it.
    """

    counts: tuple[int, ...]
    ambiguous: int = 0

    def __post_init__(self) -> None:
        if len(self.counts) < 2:
            raise ValueError(f"at least two classes are needed, got {len(self.counts)}")
        if min(self.counts) < 0 or self.ambiguous < 0:
            raise ValueError(f"counts must not be negative: {self.counts}, {self.ambiguous}")

    @classmethod
    def empty(cls, num_classes: int) -> "Tally":
        """The tally of no sample."""
        return cls(counts=(0,) * num_classes)

    @property
    def n(self) -> int:
        """Samples counted, ambiguous ones included."""
        return sum(self.counts) + self.ambiguous

    def __add__(self, other: "Tally") -> "Tally":
        """Votes of disjoint ranges of samples, together."""
        if len(self.counts) != len(other.counts):
            raise ValueError("tallies over different label sets cannot be added")
        counts = tuple(a + b for a, b in zip(self.counts, other.counts, strict=True))
        return Tally(counts=counts, ambiguous=self.ambiguous + other.ambiguous)

    def continues(self, earlier: "Tally") -> bool:
        """Whether these can be the votes of a longer prefix than `earlier`'s."""
        return (
            len(self.counts) == len(earlier.counts)
            and all(a >= b for a, b in zip(self.counts, earlier.counts, strict=True))
            and self.ambiguous >= earlier.ambiguous
        )


def parse_counts(counts: Sequence[int]) -> tuple[int, ...]:
    """Class counts as plain ints. ValueError on a negative or fractional count, or fewer than 2."""
    return Tally(counts=parse_whole(counts)).counts


def parse_whole(numbers: Sequence[int]) -> tuple[int, ...]:
    """Plain ints. ValueError on a fraction."""
    values = tuple(np.asarray(numbers).tolist())
    whole = tuple(int(value) for value in values)
    if whole != values:
        raise ValueError(f"counts must be whole numbers, got {numbers}")
    return whole
