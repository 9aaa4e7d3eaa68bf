"""The contests that decide a request's votes: one contest per target, over the target's ballots."""

from collections.abc import Sequence
from decimal import Decimal
from itertools import accumulate

from worker.certification import (
    Cohen,
    Contest,
    Phase,
    Procedure,
    Routed,
    Single,
    Staged,
    StoppingRule,
)
from worker.contract import CertifyRequest, CohenParameters, RoutedTarget, StagedParameters, Target

PHASES: tuple[Phase, ...] = ("selection", "estimation")


def create_procedure(request: CertifyRequest, *, shares: int = 1) -> Procedure:
    """The procedure of each certificate of a request, at the certificate's share of alpha.

    That share is divided by `shares`, the number of claims that one certificate consists of.
    """
    alpha = request.alpha_each / shares
    match request.procedure:
        case CohenParameters(n0=n0, n=n):
            return Cohen(n0=n0, n=n, alpha=alpha)
        case StagedParameters() as asked:
            rule = StoppingRule(
                target_radius=_find_float(asked.target_radius),
                tolerance=float(asked.tolerance),
                minimum_radius=_find_float(asked.minimum_radius),
            )
            return Staged(
                n_max=asked.n_max,
                alpha=alpha,
                rule=rule,
                n_cap=asked.n_cap,
                continuations=asked.continuations,
            )


def _find_float(value: Decimal | None) -> float | None:
    return None if value is None else float(value)


def create_contest(request: CertifyRequest, target: Target) -> Contest:
    """What decides on the votes of a target."""
    num_classes = len(target.class_names)
    if not isinstance(target, RoutedTarget):
        return Single(num_classes=num_classes, procedure=create_procedure(request))
    half = create_procedure(request, shares=2)
    assert isinstance(half, Staged), "a request with a bank is staged"
    return Routed(num_classes=num_classes, bank_size=len(target.bank), procedure=half)


def create_contests(request: CertifyRequest) -> tuple[Contest, ...]:
    """What decides on each target's votes."""
    return tuple(create_contest(request, target) for target in request.targets)


def create_places(contests: Sequence[Contest]) -> tuple[range, ...]:
    """For each contest, the places of its ballots among all ballots of the request."""
    ends = list(accumulate((len(contest.options) for contest in contests), initial=0))
    return tuple(map(range, ends[:-1], ends[1:]))
