"""What samples can prove at most, and what to ask for where that is less than the goal."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_CEILING, Decimal
from functools import lru_cache

from app.request.limits import Limits
from worker.certification import Staged, rounded_down
from worker.contract import CertifyRequest, StagedParameters
from worker.counting.contests import create_contest

_STEP = Decimal("0.001")
_SIZES = [digits * 10**zeros for zeros in range(1, 4) for digits in range(10, 100)] + [Limits().n]


@dataclass(frozen=True, kw_only=True)
class Level:
    """One certificate before its votes: a procedure, the sizes of its ballots, a noise level."""

    staged: Staged
    options: tuple[int, ...]
    sigma: Decimal

    @property
    def largest(self) -> Decimal:
        """The largest radius that it can have: that of votes which are all alike."""
        return _find_largest(self.staged, self.options, float(self.sigma))

    @property
    def samples(self) -> int:
        """How many samples it can use."""
        return self.staged.planned["estimation"][-1]

    @property
    def last(self) -> "Level":
        """The same at the end of its schedule; without a cap there is one part alone."""
        return replace(self, staged=replace(self.staged, continuations=self.staged.parts - 1))

    def proves(self, goal: Decimal, n: int) -> bool:
        """Whether `n` samples that vote alike would prove the goal."""
        return replace(self, staged=replace(self.staged, n_max=n)).largest >= goal


@lru_cache(maxsize=1024)
def _find_largest(staged: Staged, options: tuple[int, ...], sigma: float) -> Decimal:
    return rounded_down(min(staged.largest_radius(n, sigma=sigma) for n in set(options)))


def find_note(request: CertifyRequest) -> str | None:
    """A sentence where the samples cannot prove the radius asked for; None where they can.

    That radius is `target_radius`, else `minimum_radius`. Not even votes that are all alike prove
    more than the sentence says.
    """
    asked = request.procedure
    if not isinstance(asked, StagedParameters):
        return None
    goal = asked.target_radius or asked.minimum_radius
    return None if goal is None else say_short(goal, list_levels(request))


def say_short(goal: Decimal, levels: Sequence[Level]) -> str | None:
    """A sentence on the levels that cannot prove the goal; None if there are none."""
    short = tuple(level for level in levels if level.largest < goal)
    if not short:
        return None
    reaches = find_reaches(short)
    proved = join_words([f"{reach:f} at sigma {sigma:f}" for sigma, reach in reaches.items()])
    return (
        f"{short[0].samples:,} samples prove a radius of at most {proved}, and the goal is "
        f"{goal:f}. {_advise(goal, short)}"
    )


def join_words(words: Sequence[str]) -> str:
    """One or more phrases as a list within a sentence."""
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def list_levels(request: CertifyRequest) -> list[Level]:
    """The certificates that a staged request asks for; none of a request by cohen."""
    contests = [create_contest(request, target) for target in request.targets]
    return [
        Level(staged=contest.procedure, options=contest.options, sigma=sigma)
        for contest in contests
        for sigma in request.sigmas
        if isinstance(contest.procedure, Staged)
    ]


def find_reaches(levels: Sequence[Level]) -> dict[Decimal, Decimal]:
    """The largest radius that all certificates of a noise level can have, by noise level."""
    return {
        sigma: min(level.largest for level in levels if level.sigma == sigma)
        for sigma in sorted({level.sigma for level in levels})
    }


@lru_cache(maxsize=256)  # asked on every look at a certification, and for each image of a batch
def _advise(goal: Decimal, short: tuple[Level, ...]) -> str:
    """What would do: the parts to come, which are no further attempt, more samples, or more noise.

    The radius is proportional to sigma, so the noise that would do is known.
    """
    reaches, said = find_reaches(short), ""
    last = tuple(level.last for level in short)
    if last != short:
        samples = last[0].samples
        if all(level.largest >= goal for level in last):
            return f"Up to {samples:,} samples can prove it: continue this request."
        reaches, said = find_reaches(last), f"Nor can {samples:,}, up to which it may go on. "
    enough = _find_enough(goal, short)
    more = "more samples" if enough is None else f"at least {enough:,} samples"
    sigma, reach = max(reaches.items())
    if reach == 0:
        return f"{said}Ask for {more}."
    least = (goal * sigma / reach).quantize(_STEP, rounding=ROUND_CEILING)
    noise = f"for sigma {least:f} or more"
    return f"{said}Ask for {more}, or {noise}." if enough else f"{said}Ask {noise}."


def _find_enough(goal: Decimal, short: Sequence[Level]) -> int | None:
    """The fewest samples, in two digits, by which every level could prove the goal.

    None: not even the service's usual limit would do, or the samples are those of several parts.
    """
    if any(level.staged.n_cap is not None for level in short):
        return None

    def would_do(n: int) -> bool:
        return all(level.proves(goal, n) for level in short)

    place = bisect_left(_SIZES, True, key=would_do)
    return _SIZES[place] if place < len(_SIZES) else None
