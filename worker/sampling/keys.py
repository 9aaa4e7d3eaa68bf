"""Noise keys, which nobody can predict before the request is fixed.

An attacker who could predict the noise could tailor an image to it. A lab that could choose the
noise could re-roll until it liked the answer. A key is therefore derived by HKDF-SHA256 from a
secret that only workers hold and from everything the request fixes (CERTIFICATE 4).
"""

from typing import Literal

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from worker.sampling.words import NoiseKey

KeyPurpose = Literal["selection", "estimation", "adaptation", "attack", "witness"]


def derive_key(secret: bytes, request: bytes, purpose: KeyPurpose) -> NoiseKey:
    """The noise key for one purpose of one canonical request. Purposes never share words."""
    info = b"promptsmooth noise 1\0" + purpose.encode() + b"\0" + request
    raw = HKDF(algorithm=SHA256(), length=16, salt=None, info=info).derive(secret)
    return NoiseKey(int.from_bytes(raw[:8], "little"), int.from_bytes(raw[8:], "little"))
