"""Judges recorded counts by those of another f: by the bounds of the counts, not by equality.

Another processor or library moves the last bits of logits, and with them votes near a tie. Such
votes refute nobody. What another f cannot excuse is a count that its own votes make implausible.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from worker.certification import Tally, lower_confidence_bound, upper_confidence_bound

_LARGEST_SHARE = 0.05  # of votes shown that differ: beyond it, another f is no longer the reason
_CHANCE = 0.001


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What one prefix counted by another f says of the recorded one.

    Attributes:
        differing: the fewest votes that can differ, as counts show.
        plausible: whether every recorded count lies within the bounds of the one counted here.
    """

    differing: int
    plausible: bool


def judge_counts(recorded: Tally, here: Tally, *, alpha: float) -> Judgement:
    """Compares the counts of one prefix with those of another f on the same noise.

    Args:
        recorded: the counts as a document states them.
        here: those counted again, over as many samples.
        alpha: error probability of the certificate; each bound is one-sided at half of it.
    """
    pairs = [*zip(recorded.counts, here.counts, strict=True), (recorded.ambiguous, here.ambiguous)]
    n = here.n
    return Judgement(
        differing=sum(abs(said - found) for said, found in pairs) // 2,
        plausible=recorded.n == n
        and all(_is_within(said, found, n, alpha / 2) for said, found in pairs),
    )


def judge_ties(recorded: Tally, here: Tally) -> Judgement:
    """Compares the counts of one prefix with those of another run of the same f, where tau > 0.

    Logits move a little between its runs. So a sample near a tie may be ambiguous in one run and
    vote in the other, but none votes for two classes: tau covers that. What votes in one run alone
    is among the ambiguous ones of the other.
    """
    pairs = list(zip(recorded.counts, here.counts, strict=True))
    gained = sum(max(0, found - said) for said, found in pairs)
    lost = sum(max(0, said - found) for said, found in pairs)
    return Judgement(
        differing=max(gained, lost),
        plausible=recorded.n == here.n and gained <= recorded.ambiguous and lost <= here.ambiguous,
    )


def _is_within(said: int, found: int, n: int, alpha: float) -> bool:
    lower = lower_confidence_bound(found, n, alpha)
    return lower <= said / n <= upper_confidence_bound(found, n, alpha)


def is_explained(differing: int, shown: int) -> bool:
    """Whether another f can explain that so many of the votes shown are not those it gives.

    False where, but for a chance of 1 in 1,000, more than 5 % of all votes differ.
    """
    return lower_confidence_bound(differing, shown, _CHANCE) <= _LARGEST_SHARE


def describe_other(differing_fields: Sequence[str]) -> str:
    """Names another f by what differs in its identity."""
    if list(differing_fields) == ["fingerprint"]:
        return "another f in its last bits"
    return f"another f ({', '.join(differing_fields)})"
