"""Computes X + J on a GPU, from random words to normalised floats, in one Triton kernel.

The integers equal those of `worker.sampling.kernel` bit for bit, whatever the launch shape.
Triton's interpreter checks this without a GPU (tests/worker/sampling/triton_laws.py). Import this
module only on a machine with a GPU, or after setting TRITON_INTERPRET=1.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor

from worker.sampling.table import GUIDE_BITS, NoiseTable
from worker.sampling.words import NoiseKey

_M0 = tl.constexpr(0xD2E7470EE14C6C93)  # Philox4x64 multipliers
_M1 = tl.constexpr(0xCA5A826395121157)
_W0 = tl.constexpr(0x9E3779B97F4A7C15)  # Weyl key increments
_W1 = tl.constexpr(0xBB67AE8584CAA73B)
_ROUNDS = tl.constexpr(10)
_GUIDE_SHIFT = tl.constexpr(64 - GUIDE_BITS)

_FLOATS = (torch.float32, torch.bfloat16)
BLOCKS = 256  # Philox blocks per program: affects the speed, never a result


@triton.jit
def _philox(block, sample, key0, key1):
    """The four words of each counter (block, sample, 0, 0); all uint64."""
    c0, c1, c2, c3 = block, sample, tl.zeros_like(block), tl.zeros_like(block)
    for _ in tl.static_range(_ROUNDS):
        high0, low0 = tl.umulhi(c0, _M0), c0 * _M0
        high1, low1 = tl.umulhi(c2, _M1), c2 * _M1
        c0, c1, c2, c3 = high1 ^ c1 ^ key0, low1, high0 ^ c3 ^ key1, low0
        key0, key1 = key0 + _W0, key1 + _W1
    return c0, c1, c2, c3


@triton.jit
def _load_words(address):
    """Loads 64-bit words that torch stores as int64. The sign bit is an ordinary bit here."""
    return tl.load(address).to(tl.uint64, bitcast=True)


@triton.jit
def _place(word, thresholds, guide, entries):
    """The number of thresholds below each word; -1 where the word determines no J."""
    cell = (word >> _GUIDE_SHIFT).to(tl.int32)
    low, high = tl.load(guide + cell), tl.load(guide + cell + 1)
    equal = low < 0  # none yet
    while tl.max(high - low, axis=0) > 0:  # rarely more than one iteration
        active = low < high
        middle = (low + high) >> 1
        found = tl.load(thresholds + middle, mask=active, other=0).to(tl.uint64, bitcast=True)
        below = active & (found < word)
        equal = equal | (active & (found == word))
        low = tl.where(below, middle + 1, low)
        high = tl.where(active & (found >= word), middle, high)
    return tl.where(equal | (low == 0) | (low == entries), -1, low)


@triton.jit(do_not_specialize=["entries", "first_index"])
def _sample_kernel(
    image,  # uint8 (3 * plane,)
    stream,  # key0, key1, first sample
    thresholds,
    guide,
    entries,
    first_index,
    mean,  # float32 (3,)
    std,
    integers,  # int16 (rows, 3 * plane)
    pixels,  # float (rows, 3 * plane)
    undecided,  # int32 (rows,), zeros
    plane: tl.constexpr,  # H * W
    blocks: tl.constexpr,  # Philox blocks per program
    with_integers: tl.constexpr,
    with_pixels: tl.constexpr,
):
    row = tl.program_id(0)
    first = tl.program_id(1) * blocks
    block = (first + 1 + tl.arange(0, blocks)).to(tl.uint64)  # numpy counts from 1
    sample = _load_words(stream + 2) + row.to(tl.uint64)
    w0, w1, w2, w3 = _philox(block, sample, _load_words(stream), _load_words(stream + 1))
    word = tl.interleave(tl.interleave(w0, w2), tl.interleave(w1, w3))  # w0 w1 w2 w3 of a block

    place = _place(word, thresholds, guide, entries)
    i = 4 * first + tl.arange(0, 4 * blocks)
    inside = i < 3 * plane
    lost = tl.max((inside & (place < 0)).to(tl.int32), axis=0)
    tl.store(undecided + row, 1, mask=lost > 0)

    value = tl.load(image + i, mask=inside, other=0).to(tl.int32) + first_index + place
    at = row.to(tl.int64) * (3 * plane) + i
    if with_integers:
        tl.store(integers + at, value.to(tl.int16), mask=inside)
    if with_pixels:
        channel = i // plane
        centre = tl.load(mean + channel, mask=inside, other=0.0)
        scale = tl.load(std + channel, mask=inside, other=1.0)
        normal = tl.div_rn(tl.div_rn(value.to(tl.float32), 255.0) - centre, scale)
        tl.store(pixels + at, normal.to(pixels.dtype.element_ty), mask=inside)


def sample_noisy_integers(
    image: Tensor,
    key: NoiseKey,
    table: NoiseTable,
    *,
    start: int,
    out: Tensor,
    stream: Tensor | None = None,
    undecided: Tensor | None = None,
) -> Tensor:
    """Writes X + J for samples start .. start + len(out) - 1 into `out`, on the image's device.

    The integers are exactly those that `worker.sampling.kernel.sample_noisy_images` writes on a
    CPU, in ambiguous samples too. They depend on neither the launch shape, the number of rows nor
    the device.

    Args:
        image: X, uint8 (3, H, W), contiguous.
        key: the noise key for one purpose of one request.
        table: the thresholds for sigma. They stay on the device after the first call.
        start: index of the first sample, 0 .. 2**64 - len(out).
        out: int16 (samples, 3, H, W), contiguous, on the image's device; not clipped.
        stream: the row of `as_streams` for `key` and `start`, if it is on the device already;
            otherwise it is sent.
        undecided: int32 (samples,), zeros, on the device; used instead of a new tensor.

    Returns:
        A bool tensor of shape (samples,) on the device. It is True for each ambiguous sample: one
        with a word that determines no J.

    Raises:
        ValueError: a tensor has the wrong dtype, shape or device, or a sample index is out of
            range.
    """
    _require_fitting(image, start, out, (torch.int16,))
    return _launch(image, key, table, start, integers=out, stream=stream, undecided=undecided)


def sample_noisy_batch(
    image: Tensor,
    key: NoiseKey,
    table: NoiseTable,
    *,
    start: int,
    out: Tensor,
    mean: Sequence[float],
    std: Sequence[float],
    integers: Tensor | None = None,
    stream: Tensor | None = None,
    undecided: Tensor | None = None,
) -> Tensor:
    """Writes the normalised pixels ((X + J) / 255 - mean) / std into `out`, in one kernel.

    The underlying integers X + J are exact, as in `sample_noisy_integers`. They are converted to
    float32 once. Each of the three operations that follow rounds once to the nearest, without a
    reciprocal or a fused multiply-add, as `PixelNormalisation` does on a CPU. The float32 result
    is bit-equal to that of `PixelNormalisation`, and the bfloat16 result is that value rounded
    once more. f is therefore the same whichever of the two computes its input. An engine compares
    the two on its own device before it serves.

    Args:
        image, key, table, start: as in `sample_noisy_integers`.
        out: float32 or bfloat16 (samples, 3, H, W), contiguous, on the image's device.
        mean: mean of each of the three channels, for pixels in [0, 1].
        std: standard deviation of each of the three channels, likewise.
        integers: int16, with the shape of `out`. If given, X + J is written there too.
        stream, undecided: as in `sample_noisy_integers`.

    Returns:
        The ambiguous samples, as in `sample_noisy_integers`.

    Raises:
        ValueError: a tensor has the wrong dtype, shape or device, a sample index is out of range,
            or `mean` or `std` does not have three values.
    """
    _require_fitting(image, start, out, _FLOATS)
    if integers is not None:
        _require_fitting(image, start, integers, (torch.int16,))
        if integers.shape != out.shape:
            raise ValueError(
                f"integers must have the shape of out, expected {tuple(out.shape)}, "
                f"got {tuple(integers.shape)}"
            )
    if len(mean) != 3 or len(std) != 3:
        raise ValueError(
            f"mean and std must have a value for each of 3 channels, got {len(mean)} and {len(std)}"
        )
    normalisation = (tuple(mean), tuple(std))
    return _launch(
        image,
        key,
        table,
        start,
        integers,
        pixels=out,
        normalisation=normalisation,
        stream=stream,
        undecided=undecided,
    )


def as_streams(streams: Sequence[tuple[NoiseKey, int]], device: torch.device) -> Tensor:
    """The keys and first samples of n launches, sent to the device together; int64 (n, 3)."""
    rows = _as_words([word for key, start in streams for word in (key.low, key.high, start)])
    words = rows.reshape(-1, 3)
    if device.type != "cuda":
        return words.to(device)
    return words.pin_memory().to(device, non_blocking=True)


def _require_fitting(image: Tensor, start: int, out: Tensor, dtypes: Sequence[torch.dtype]) -> None:
    if image.dtype != torch.uint8 or image.ndim != 3 or image.shape[0] != 3:
        raise ValueError(
            f"expected an image of uint8 (3, H, W), got {image.dtype} {tuple(image.shape)}"
        )
    if out.dtype not in dtypes or out.shape[1:] != image.shape or len(out) == 0:
        raise ValueError(
            f"expected {' or '.join(map(str, dtypes))} of shape (samples, *{tuple(image.shape)}), "
            f"got {out.dtype} {tuple(out.shape)}"
        )
    if out.device != image.device or not (out.is_contiguous() and image.is_contiguous()):
        raise ValueError("image and output must be contiguous and on the same device")
    if not 0 <= start <= 2**64 - len(out):
        raise ValueError(f"start must lie in 0 .. 2**64 - {len(out)}, got {start}")


def _launch(
    image: Tensor,
    key: NoiseKey,
    table: NoiseTable,
    start: int,
    integers: Tensor | None = None,
    *,
    pixels: Tensor | None = None,
    normalisation: tuple[tuple[float, ...], tuple[float, ...]] = ((), ()),
    blocks: int = BLOCKS,
    stream: Tensor | None = None,
    undecided: Tensor | None = None,
) -> Tensor:
    device, plane = image.device, image.shape[1] * image.shape[2]
    out = integers if integers is not None else pixels
    assert out is not None  # a launch writes integers, pixels or both
    if undecided is None:
        undecided = torch.zeros(len(out), dtype=torch.int32, device=device)
    thresholds, guide = _table_on(table, device)
    mean, std = _channels_on(normalisation, device)
    grid = (len(out), triton.cdiv(3 * plane, 4 * blocks))
    _sample_kernel[grid](
        image,
        as_streams([(key, start)], device) if stream is None else stream,
        thresholds,
        guide,
        len(table.thresholds),
        table.first_index,
        mean,
        std,
        out if integers is None else integers,
        out if pixels is None else pixels,
        undecided,
        plane=plane,
        blocks=blocks,
        with_integers=integers is not None,
        with_pixels=pixels is not None,
    )
    return undecided != 0


def _as_words(words: Sequence[int]) -> Tensor:
    """64-bit words as an int64 tensor: Triton would type an int argument by its size."""
    return torch.from_numpy(np.array(words, dtype=np.uint64).view(np.int64))


@lru_cache(maxsize=64)
def _table_on(table: NoiseTable, device: torch.device) -> tuple[Tensor, Tensor]:
    thresholds = torch.from_numpy(table.thresholds.view(np.int64).copy())
    return thresholds.to(device), torch.from_numpy(table.guide.copy()).to(device)


@lru_cache(maxsize=64)
def _channels_on(
    normalisation: tuple[tuple[float, ...], tuple[float, ...]], device: torch.device
) -> tuple[Tensor, Tensor]:
    mean, std = normalisation
    return (
        torch.tensor(mean, dtype=torch.float32, device=device),
        torch.tensor(std, dtype=torch.float32, device=device),
    )
