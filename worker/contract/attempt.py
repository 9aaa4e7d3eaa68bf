"""Which of the rolls for one image this is, and what all of them up to this one spent."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """A roll among those on record for its image.

    Attributes:
        number: its ordinal number, from 1.
        alpha_sum: the sum of alpha over all certificates of this attempt and those before it. That
            some certificate among them is false has at most this probability. None where an
            earlier version recorded an attempt without its alpha.
    """

    number: int
    alpha_sum: Decimal | None = None


def create_attempt(numbers: Mapping[str, int], spent: Mapping[str, Decimal], name: str) -> Attempt:
    """The attempt called `name`, from the numbers and the alphas of all on record."""
    number = numbers[name]
    upto = [spent.get(other) for other, place in numbers.items() if place <= number]
    known = [alpha for alpha in upto if alpha is not None]
    whole = len(known) == len(upto)
    return Attempt(number=number, alpha_sum=sum(known, Decimal(0)) if whole else None)
