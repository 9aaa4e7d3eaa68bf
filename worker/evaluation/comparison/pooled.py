"""Pools paired differences over several runs and noise levels, with whole images drawn again."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Self

import numpy as np
import numpy.typing as npt

from worker.evaluation.comparison.bootstrap import bootstrap_mean
from worker.evaluation.comparison.paired import RightRadii, difference_at, is_right


@dataclass(frozen=True, kw_only=True)
class Judged:
    """Two rows at one radius, over the same images and noise.

    Attributes:
        images: names the set of images and their order, such as the digest of their listing. Rows
            of one set are about the same images.
        row, reference: what is compared, and with what.
        radius: r, l2 in pixels scaled to [0, 1].
    """

    images: str
    row: RightRadii
    reference: RightRadii
    radius: Decimal


@dataclass(frozen=True, kw_only=True)
class Pooled:
    """Certified accuracy of two rows over all cells, an image under one run and noise level each.

    `difference` is `accuracy` less `reference`; `low` and `high` are its 95 % interval.
    """

    cells: int
    images: int
    accuracy: float
    reference: float
    difference: float
    low: float
    high: float

    @classmethod
    def of(cls, judged: Sequence[Judged]) -> Self:
        """Pools rows; every cell counts once.

        The interval is a paired bootstrap over images. An image is drawn with all its cells,
        because they are not independent, and the images of each set from that set alone. It covers
        the choice of images, not that of models or prompts.

        Raises:
            ValueError: there are no rows, or rows over one set have different numbers of images.
        """
        if not judged:
            raise ValueError("pooling needs at least one pair of rows")
        by_set: dict[str, list[npt.NDArray[np.int64]]] = defaultdict(list)
        for one in judged:
            by_set[one.images].append(difference_at(one.row, one.reference, one.radius))
        sums = [np.sum(np.stack(rows), axis=0) for rows in by_set.values()]
        cells = sum(len(one.row) for one in judged)
        right = sum(sum(is_right(one.row, one.radius)) for one in judged)
        reference = sum(sum(is_right(one.reference, one.radius)) for one in judged)
        low, high = bootstrap_mean(sums, cells)
        return cls(
            cells=cells,
            images=sum(map(len, sums)),
            accuracy=right / cells,
            reference=reference / cells,
            difference=(right - reference) / cells,
            low=low,
            high=high,
        )
