"""Certification noise. No other code draws it (CERTIFICATE 4)."""

from worker.sampling.table import NoiseTable, create_noise_table, parse_sigma, threshold
from worker.sampling.words import NoiseKey, sample_words

__all__ = [
    "NoiseKey",
    "NoiseTable",
    "create_noise_table",
    "parse_sigma",
    "sample_words",
    "threshold",
]
