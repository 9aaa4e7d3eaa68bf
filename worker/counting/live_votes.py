"""The votes of a running certification, to be watched, with bounds that claim nothing."""

from worker.certification import Tally, lower_confidence_bound, upper_confidence_bound
from worker.certification.certificate import bound_rounded_down, bound_rounded_up
from worker.contract import CertifyRequest, LiveVotes, RoutedTarget
from worker.counting.prefixes import Board


def create_live(request: CertifyRequest, board: Board) -> tuple[LiveVotes, ...]:
    """The votes of each certificate so far, by noise level and target."""
    return tuple(
        _create_live(request, board, i, place)
        for i in range(len(request.sigmas))
        for place in range(len(request.targets))
    )


def _create_live(request: CertifyRequest, board: Board, i: int, place: int) -> LiveVotes:
    target = request.targets[place]
    tallies = board.tallies(i, place)
    tally, alpha = tallies[0], request.alpha_each
    if isinstance(target, RoutedTarget):  # the classes under the prompt that leads
        selector = tally.counts
        tally, alpha = tallies[1 + selector.index(max(selector))], alpha / 2
    p_a_lower, p_b_upper = _bounds(tally, alpha)
    return LiveVotes(
        sigma=float(request.sigmas[i]),
        prompting=target.prompting,
        target_index=place,
        n=tally.n,
        counts=tally.counts,
        ambiguous=tally.ambiguous,
        p_a_lower=p_a_lower,
        p_b_upper=p_b_upper,
    )


def _bounds(tally: Tally, alpha: float) -> tuple[float, float]:
    """A lower bound for the top class, an upper one for the runner-up and all ambiguous ones."""
    if tally.n == 0:
        return 0.0, 1.0
    runner_up, top = sorted(tally.counts)[-2:]
    lower = lower_confidence_bound(top, tally.n, alpha)
    upper = upper_confidence_bound(runner_up + tally.ambiguous, tally.n, alpha)
    return float(bound_rounded_down(lower)), float(bound_rounded_up(upper))
