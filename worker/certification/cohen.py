"""CERTIFY by Cohen, Rosenfeld and Kolter (ICML 2019), section 3.2.2; CERTIFICATE 3, `cohen`."""

from collections.abc import Sequence

from worker.certification.bounds import (
    l2_radius,
    lower_confidence_bound,
    require_alpha,
    require_sigma,
    upper_confidence_bound,
)
from worker.certification.certificate import Abstained, Certified
from worker.certification.tally import parse_counts


def certify_cohen(
    counts_selection: Sequence[int],
    counts_estimation: Sequence[int],
    *,
    sigma: float,
    alpha: float,
    ambiguous: int = 0,
    ambiguous_selection: int = 0,
) -> Certified | Abstained:
    """Certifies the class that wins the selection samples, using fresh estimation samples.

    With probability at least 1 - alpha over the sampling, if the result is `Certified`, then the
    smoothed classifier predicts `top_class` at every image within l2 distance `radius`.

    Ambiguous and lost selection samples vote for no class. The result is `Abstained` where their
    votes could have chosen another class (CERTIFICATE 3), so a certified class is always the one
    that all n0 samples choose. The choice therefore stays independent of the estimation samples,
    even if somebody who has seen every vote decides which selection samples are lost.

    Args:
        counts_selection: votes of the n0 selection samples for each class, shape (num_classes,).
        counts_estimation: votes of the estimation samples for each class, shape (num_classes,).
            They must be drawn independently of the selection samples.
        sigma: standard deviation of the noise, in pixels scaled to [0, 1].
        alpha: error probability, in (0, 1/2).
        ambiguous: number of estimation samples that voted for no class. They count against the top
            class, so n = sum(counts_estimation) + ambiguous.
        ambiguous_selection: number of selection samples that voted for no class or were lost.

    Returns:
        The outcome, with the radius unrounded.

    Raises:
        ValueError: there are fewer than two classes, the two phases differ in their number of
            classes, a count is negative, there is no estimation sample, or alpha or sigma is out of
            range.
    """
    selection, estimation = parse_counts(counts_selection), parse_counts(counts_estimation)
    if len(selection) != len(estimation):
        raise ValueError(
            "selection and estimation must count the same classes, "
            f"got {len(selection)} and {len(estimation)}"
        )
    if min(ambiguous, ambiguous_selection) < 0:
        came = f"{ambiguous} and {ambiguous_selection}"
        raise ValueError(f"the numbers of ambiguous samples must not be negative, got {came}")
    require_alpha(alpha)
    require_sigma(sigma)
    n = sum(estimation) + ambiguous
    top_class = selection.index(max(selection))
    k = estimation[top_class]
    p_a_lower = lower_confidence_bound(k, n, alpha)
    p_b_upper = upper_confidence_bound(n - k, n, alpha)  # 1 - p_a_lower, with all its digits
    if p_a_lower <= 0.5 or not _is_chosen(top_class, selection, ambiguous_selection):
        return Abstained(top_class=top_class, p_a_lower=p_a_lower, p_b_upper=p_b_upper)
    radius = l2_radius(p_a_lower, p_b_upper, sigma)
    return Certified(top_class=top_class, radius=radius, p_a_lower=p_a_lower, p_b_upper=p_b_upper)


def _is_chosen(top_class: int, selection: Sequence[int], ambiguous: int) -> bool:
    """Whether the class wins whatever the votes of the ambiguous samples are."""
    if ambiguous == 0:
        return True
    return selection[top_class] > ambiguous + sorted(selection)[-2]
