"""The fingerprint of an f: the digest of what it computes for one fixed batch and its card's texts.

A model's files, its precision and the names of device and libraries do not fix f: a processor's
instruction set, or a library that an operating system replaced, moves the last bits of its logits.
The fingerprint names f by what it does (CERTIFICATE 4). It never reaches a request or a noise key.
"""

import hashlib
import time
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import torch
from torch import Tensor

from models.catalogue.texts import create_text
from models.vlm.denoised import encode_raw
from models.vlm.vlm import VLM
from worker.contract.image import Image
from worker.sampling.kernel import sample_noisy_images
from worker.sampling.table import create_noise_table
from worker.sampling.words import NoiseKey

_KEY = NoiseKey(0x66696E6765727072, 0)  # may be public: no certificate uses this noise
_SIGMA = Decimal("0.25")


@dataclass(frozen=True, kw_only=True, eq=False)
class Probe:
    """What a model did with the fixed batch, which runs twice.

    Attributes:
        fingerprint: SHA-256 of the features, and of the logits of an ONNX network; None if the two
            runs differ in a bit, because no digest names such an f.
        features: the image features of the first run, on the CPU.
        samples_per_s: the speed of the second run.
    """

    fingerprint: str | None
    features: Tensor
    samples_per_s: float


def probe(vlm: VLM, rows: int) -> Probe:
    """Runs the fixed batch through the image tower twice, and the card's texts once.

    Args:
        vlm: the model, on its device.
        rows: the batch shape under which votes are counted.
    """
    pixels = create_probe_batch(rows, vlm.card.preprocessing.size).to(vlm.device)
    with torch.inference_mode():
        first = encode_raw(vlm, pixels).cpu()
        began = time.perf_counter()
        second = encode_raw(vlm, pixels).cpu()
        seconds = time.perf_counter() - began
        texts = vlm.encode_texts(
            [create_text(vlm.card.template, name) for name in vlm.card.class_names]
        )
    same = _to_bytes(first) == _to_bytes(second)
    return Probe(
        fingerprint=_digest(first, texts.cpu()) if same else None,
        features=first[:, : vlm.embed_dim],
        samples_per_s=rows / seconds,
    )


def create_probe_batch(rows: int, size: int) -> Tensor:
    """The fixed batch: noisy copies of a graded image, int16 (rows, 3, size, size)."""
    image = _create_graded(size)
    out = np.empty((rows, image.size), dtype=np.int16)
    sample_noisy_images(image, _KEY, create_noise_table(_SIGMA), start=0, out=out)
    return torch.from_numpy(out).reshape(rows, 3, size, size)


def _create_graded(size: int) -> Image:
    """Grey values by arithmetic, without a generator whose stream might change."""
    values = np.arange(3 * size * size).reshape(3, size, size)
    return np.ascontiguousarray(values * 36 % 97 + 79).astype(np.uint8)


def _digest(images: Tensor, texts: Tensor) -> str:
    parts = [b"promptsmooth fingerprint 1\n"]
    for features in (images, texts):
        shape = "x".join(map(str, features.shape))
        parts += [f"float32 {shape}\n".encode(), _to_bytes(features)]
    return hashlib.sha256(b"".join(parts)).hexdigest()


def _to_bytes(features: Tensor) -> bytes:
    """The bits of features, least significant byte first; -0.0 and NaN are told apart by them."""
    return features.to(torch.float32).numpy().astype("<f4").tobytes()
