"""Certification noise. No other code draws it (CERTIFICATE 4)."""

from worker.sampling.keys import (
    KeyPurpose,
    SecretUnusable,
    commitment,
    create_secret,
    derive_key,
    load_secret,
)
from worker.sampling.table import NoiseTable, create_noise_table, parse_sigma, threshold
from worker.sampling.words import NoiseKey, sample_words

__all__ = [
    "KeyPurpose",
    "NoiseKey",
    "NoiseTable",
    "SecretUnusable",
    "commitment",
    "create_noise_table",
    "create_secret",
    "derive_key",
    "load_secret",
    "parse_sigma",
    "sample_words",
    "threshold",
]
