"""Confidence bounds on class probabilities and the radius they certify (CERTIFICATE 1 and 2).

scipy is imported where it computes: every command of the command line imports this module.
"""

import math


def _checked(successes: int, trials: int, alpha: float) -> None:
    if trials < 1:
        raise ValueError(f"trials must be at least 1, got {trials}")
    if not 0 <= successes <= trials:
        raise ValueError(f"successes must lie in 0..{trials}, got {successes}")
    require_alpha(alpha)


def require_alpha(alpha: float) -> None:
    """Raises ValueError unless 0 < alpha < 1/2. NaN is refused too."""
    if not 0.0 < alpha < 0.5:
        raise ValueError(f"alpha must lie strictly between 0 and 0.5, got {alpha}")


def require_sigma(sigma: float) -> None:
    """Raises ValueError unless sigma is finite and positive."""
    if not (math.isfinite(sigma) and sigma > 0.0):
        raise ValueError(f"sigma must be finite and greater than 0, got {sigma}")


def lower_confidence_bound(successes: int, trials: int, alpha: float) -> float:
    """A lower bound on a binomial probability, which is false with probability at most alpha.

    One-sided Clopper-Pearson: P(lower > p) <= alpha for every true p. The bound is 0 if there is no
    success.

    Args:
        successes: observed successes, 0..trials.
        trials: observed trials, at least 1.
        alpha: error probability, in (0, 1/2).

    Returns:
        The bound, in [0, 1), accurate to about 1e-14 in either direction.

    Raises:
        ValueError: a number is out of range.
    """
    _checked(successes, trials, alpha)
    if successes == 0:
        return 0.0
    from scipy.special import betaincinv

    return float(betaincinv(successes, trials - successes + 1, alpha))


def upper_confidence_bound(successes: int, trials: int, alpha: float) -> float:
    """An upper bound on a binomial probability, which is false with probability at most alpha.

    One-sided Clopper-Pearson, 1 - lower(trials - successes, trials, alpha). It is computed through
    the complement, so that bounds near 0 keep their digits. The bound is 1 if every trial
    succeeded.

    Arguments and errors are those of `lower_confidence_bound`. The bound lies in (0, 1].
    """
    _checked(successes, trials, alpha)
    if successes == trials:
        return 1.0
    from scipy.special import betainccinv

    return float(betainccinv(successes + 1, trials - successes, alpha))


def l2_radius(p_a_lower: float, p_b_upper: float, sigma: float) -> float:
    """R = sigma/2 (Phi^-1(p_a_lower) - Phi^-1(p_b_upper)), unrounded.

    The smoothed classifier keeps its class under every delta with l2 norm below R, in pixels scaled
    to [0, 1] (Cohen, Rosenfeld, Kolter 2019, Theorem 1). R is not positive if
    p_a_lower <= p_b_upper; nothing is certified then.

    Args:
        p_a_lower: lower bound on the top class's probability, in [0, 1).
        p_b_upper: upper bound on every other class's probability, in (0, 1].
        sigma: standard deviation of the noise, in pixels scaled to [0, 1].

    Raises:
        ValueError: a number is out of range.
    """
    if not (0.0 <= p_a_lower < 1.0 and 0.0 < p_b_upper <= 1.0):
        raise ValueError(
            "p_a_lower must lie in [0, 1) and p_b_upper in (0, 1], "
            f"got p_a_lower={p_a_lower}, p_b_upper={p_b_upper}"
        )
    require_sigma(sigma)
    from scipy.special import ndtri

    return float(sigma / 2.0 * (ndtri(p_a_lower) - ndtri(p_b_upper)))
