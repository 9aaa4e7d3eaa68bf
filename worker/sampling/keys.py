"""Noise keys: derived from the server's secret and the whole request, unpredictable before it.

An attacker who could predict the noise would craft an image against it; a lab that could choose
it would roll until it likes the answer. So a key is HKDF-SHA256 of a secret that only workers
hold, over everything the request fixes (CERTIFICATE 4).
"""

from typing import Literal

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from worker.key_secret import SECRET_BYTES, SecretUnusable, commitment, create_secret, load_secret
from worker.sampling.words import NoiseKey

__all__ = [
    "SECRET_BYTES",
    "KeyPurpose",
    "SecretUnusable",
    "commitment",
    "create_secret",
    "derive_key",
    "load_secret",
]

KeyPurpose = Literal["selection", "estimation", "adaptation"]


def derive_key(secret: bytes, request: bytes, purpose: KeyPurpose) -> NoiseKey:
    """The noise key of one purpose of one canonical request; purposes never share words."""
    info = b"promptsmooth noise 1\0" + purpose.encode() + b"\0" + request
    raw = HKDF(algorithm=SHA256(), length=16, salt=None, info=info).derive(secret)
    return NoiseKey(int.from_bytes(raw[:8], "little"), int.from_bytes(raw[8:], "little"))
