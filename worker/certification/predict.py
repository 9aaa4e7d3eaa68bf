"""The procedure PREDICT of Cohen et al. (2019): which class the smoothed classifier predicts."""

from worker.certification.staged import rank_p_value
from worker.certification.tally import Tally


def predict(tally: Tally, *, alpha: float) -> int | None:
    """The class that the smoothed classifier predicts, or None if the votes do not show it.

    With probability at least 1 - alpha over the sampling, a class that is returned is the smoothed
    classifier's prediction. The test is two-sided and binomial on the two largest counts (Hung and
    Fithian 2019). Ambiguous samples count against the top class.

    Args:
        tally: the votes of samples whose number was fixed before the first was drawn.
        alpha: error probability, in (0, 1/2).
    """
    k = max(tally.counts)
    top_class = tally.counts.index(k)
    others = [count for place, count in enumerate(tally.counts) if place != top_class]
    b = max(others) + tally.ambiguous
    return top_class if rank_p_value(k, b) <= alpha else None
