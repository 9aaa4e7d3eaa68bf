"""Tables small enough to put a threshold exactly where a word lies."""

from collections.abc import Callable
from decimal import Decimal

import numpy as np
import pytest

from worker.sampling.table import NoiseTable


@pytest.fixture
def create_table() -> Callable[[list[int]], NoiseTable]:
    """Makes the table that has these thresholds."""
    return _create_table


def _create_table(thresholds: list[int]) -> NoiseTable:
    cells = np.arange(2**16, dtype=np.uint64) << np.uint64(48)
    array = np.array(sorted(thresholds), dtype=np.uint64)
    guide = np.append(np.searchsorted(array, cells), len(array)).astype(np.int32)
    return NoiseTable(
        sigma=Decimal(1), first_index=-1, thresholds=array, guide=guide, sha256="0" * 64
    )
