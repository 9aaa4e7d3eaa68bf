"""Bootstrap intervals over images: whole images are drawn again, with all that they contribute."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

RESAMPLES = 10_000
SEED = 17
_PERCENT = (2.5, 97.5)


def bootstrap_mean(
    strata: Sequence[npt.NDArray[np.int64]],
    cells: int,
    *,
    seed: int = SEED,
    resamples: int = RESAMPLES,
) -> tuple[float, float]:
    """The 95 % percentile interval of a mean over cells whose images are drawn with replacement.

    An image may contribute several cells, such as one for each noise level. They are drawn together
    (cluster bootstrap), so cells of one image need not be independent. The images of each stratum
    are drawn from that stratum alone, and their number stays the same.

    Args:
        strata: for each set of images, the sum of each image's cells, int64 (images,).
        cells: the number of cells in all strata.
        seed: of the draws. The same seed and sums give the same interval.
        resamples: the number of draws.

    Raises:
        ValueError: a stratum has no image.
    """
    generator = np.random.default_rng(seed)
    total = np.zeros(resamples)
    for sums in strata:
        # Images with equal sums are alike, so drawing how many of each kind come is enough.
        kinds, counts = np.unique(sums, return_counts=True)
        drawn = generator.multinomial(len(sums), counts / len(sums), size=resamples)
        total += drawn @ kinds  # (resamples,)
    low, high = np.percentile(total / cells, _PERCENT)
    return float(low), float(high)
