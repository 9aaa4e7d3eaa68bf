"""Known answers of the noise, checked before an engine serves."""

import numpy as np

from worker.sampling.kernel import sample_noisy_images
from worker.sampling.table import create_noise_table
from worker.sampling.words import NoiseKey, sample_words

_KEY = NoiseKey(0x0123456789ABCDEF, 0xFEDCBA9876543210)
_SAMPLES, _COUNT = 3, 4099  # more than one block, and no multiple of four


class NoiseMismatch(Exception):
    """The compiled noise differs from its definition on this machine."""


def check_noise() -> None:
    """Compares compiled words and table look-ups with numpy's, at a coarse and a fine sigma.

    Raises:
        NoiseMismatch: a certificate from this machine would be about other noise.
    """
    image = np.arange(_COUNT, dtype=np.uint64).astype(np.uint8)
    for sigma in ("0.004", "0.5"):
        table = create_noise_table(sigma)
        found = np.empty((_SAMPLES, _COUNT), dtype=np.int16)
        sample_noisy_images(image, _KEY, table, start=7, out=found)
        for row in range(_SAMPLES):
            words = sample_words(_KEY, 7 + row, _COUNT)
            j = np.searchsorted(table.thresholds, words) + table.first_index
            if not np.array_equal(found[row], image + j):
                raise NoiseMismatch(f"compiled noise at sigma {sigma} is not the noise defined")
