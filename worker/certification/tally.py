"""Vote counts over a complete prefix of the samples."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from worker.certification.merkle import NO_VOTE


@dataclass(frozen=True, kw_only=True)
class Tally:
    """The votes of samples 0 .. n - 1: one count per class, and the number of ambiguous samples.

    A sample is ambiguous if its vote is not safe (a near tie, NaN, or a noise word that equals a
    threshold or lies beyond the table). It counts against the top class, never for it.
    """

    counts: tuple[int, ...]
    ambiguous: int = 0

    def __post_init__(self) -> None:
        if len(self.counts) < 2:
            raise ValueError(f"at least two classes are needed, got {len(self.counts)}")
        if min(self.counts) < 0 or self.ambiguous < 0:
            raise ValueError(f"counts must not be negative, got {self.counts}, {self.ambiguous}")

    @classmethod
    def empty(cls, num_classes: int) -> "Tally":
        """The tally of no samples."""
        return cls(counts=(0,) * num_classes)

    @classmethod
    def of_votes(cls, votes: Sequence[int] | npt.NDArray[np.int64], num_classes: int) -> "Tally":
        """The tally of single votes: class indices, or -1 for an ambiguous sample.

        Raises:
            ValueError: a vote is neither -1 nor a class below `num_classes`.
        """
        voted = np.asarray(votes, dtype=np.int64)
        outside = voted[(voted < NO_VOTE) | (voted >= num_classes)]
        if outside.size:
            raise ValueError(f"a vote must be -1 or a class below {num_classes}, got {outside[0]}")
        ambiguous, *counts = np.bincount(voted - NO_VOTE, minlength=num_classes + 1).tolist()
        return cls(counts=tuple(counts), ambiguous=ambiguous)

    @property
    def n(self) -> int:
        """The number of samples, ambiguous ones included."""
        return sum(self.counts) + self.ambiguous

    def __add__(self, other: "Tally") -> "Tally":
        """The votes of two disjoint ranges of samples, added up."""
        if len(self.counts) != len(other.counts):
            raise ValueError("tallies over different label sets cannot be added")
        counts = tuple(a + b for a, b in zip(self.counts, other.counts, strict=True))
        return Tally(counts=counts, ambiguous=self.ambiguous + other.ambiguous)

    def continues(self, earlier: "Tally") -> bool:
        """Whether these can be the votes of a prefix that extends that of `earlier`."""
        return (
            len(self.counts) == len(earlier.counts)
            and all(a >= b for a, b in zip(self.counts, earlier.counts, strict=True))
            and self.ambiguous >= earlier.ambiguous
        )


def parse_counts(counts: Sequence[int]) -> tuple[int, ...]:
    """Class counts as plain ints.

    Raises:
        ValueError: a count is negative or fractional, or there are fewer than two.
    """
    return Tally(counts=parse_whole(counts)).counts


def parse_whole(numbers: Sequence[int]) -> tuple[int, ...]:
    """The numbers as plain ints. Raises ValueError if one is fractional."""
    values = tuple(np.asarray(numbers).tolist())
    whole = tuple(int(value) for value in values)
    if whole != values:
        raise ValueError(f"counts must be whole numbers, got {numbers}")
    return whole
