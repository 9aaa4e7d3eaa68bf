"""Computes X + J on the CPU: words, table lookup and integer addition in one loop.

All certification noise on a CPU comes from here. The integers equal, bit for bit, those of the
plain reference: `sample_words` and a search in the thresholds (tests/worker/sampling).
"""

from typing import Any

import numba
import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from worker.sampling.table import GUIDE_BITS, NoiseTable
from worker.sampling.words import NoiseKey

_M0, _M1 = np.uint64(0xD2E7470EE14C6C93), np.uint64(0xCA5A826395121157)  # Philox4x64 multipliers
_W0, _W1 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBB67AE8584CAA73B)  # Weyl key increments
_ROUNDS = 10
_GUIDE_SHIFT = np.uint64(64 - GUIDE_BITS)
_ONE = np.uint64(1)


@intrinsic
def _multiply(typing_context: Any, a: Any, b: Any) -> Any:  # noqa: ARG001  # numba's signature
    """Both words of a 64 x 64 bit product, the high one first, in one machine instruction."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        word, wide = ir.IntType(64), ir.IntType(128)
        product = builder.mul(builder.zext(args[0], wide), builder.zext(args[1], wide))
        high = builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), word)
        low = builder.trunc(product, word)
        return context.make_tuple(builder, signature.return_type, [high, low])

    return types.UniTuple(types.uint64, 2)(types.uint64, types.uint64), codegen


@numba.njit(inline="always", cache=True)
def _philox(block, sample, key0, key1):
    """The four words of counter (block, sample, 0, 0)."""
    c0, c1, c2, c3 = block, sample, np.uint64(0), np.uint64(0)
    for _ in range(_ROUNDS):
        high0, low0 = _multiply(_M0, c0)
        high1, low1 = _multiply(_M1, c2)
        c0, c1, c2, c3 = high1 ^ c1 ^ key0, low1, high0 ^ c3 ^ key1, low0
        key0, key1 = key0 + _W0, key1 + _W1
    return c0, c1, c2, c3


@numba.njit(cache=True)
def _search(word, thresholds, guide):
    """The number of thresholds below `word`; -1 when the word determines no J."""
    cell = np.int64(word >> _GUIDE_SHIFT)
    low, high = guide[cell], guide[cell + 1]
    while low < high:  # rarely more than one iteration: few cells hold several thresholds
        middle = (low + high) >> 1
        if thresholds[middle] < word:
            low = middle + 1
        elif thresholds[middle] == word:
            return np.int64(-1)
        else:
            high = middle
    return np.int64(low) if 0 < low < len(thresholds) else np.int64(-1)


@numba.njit(cache=True)
def _place(word, thresholds, guide, decided):
    """What `_search` finds, from one table for nearly every word."""
    found = np.int64(decided[np.int64(word >> _GUIDE_SHIFT)])
    return found if found > 0 else _search(word, thresholds, guide)


@numba.njit(nogil=True, cache=True)
def _fill(lowest, key0, key1, first_sample, thresholds, guide, decided, out, undecided):
    """`lowest` is X plus the table's first J, to which the place of a word is added."""
    d = len(lowest)
    whole = d - d % 4
    for row in range(out.shape[0]):
        sample = first_sample + np.uint64(row)
        worst = np.int64(0)
        block = np.uint64(0)
        for first in range(0, whole, 4):
            block += _ONE  # numpy increments its counter before the first block
            words = _philox(block, sample, key0, key1)
            for i in range(4):  # a fixed length is unrolled
                place = _place(words[i], thresholds, guide, decided)
                worst |= place
                out[row, first + i] = np.int16(lowest[first + i] + place)
        if whole < d:
            words = _philox(block + _ONE, sample, key0, key1)
            for i in range(whole, d):
                place = _place(words[i - whole], thresholds, guide, decided)
                worst |= place
                out[row, i] = np.int16(lowest[i] + place)
        undecided[row] = worst < 0


def sample_noisy_images(
    image: npt.NDArray[np.uint8],
    key: NoiseKey,
    table: NoiseTable,
    *,
    start: int,
    out: npt.NDArray[np.int16],
) -> npt.NDArray[np.bool_]:
    """Writes X + J for samples start .. start + len(out) - 1 into `out`.

    Args:
        image: X, uint8, any shape with d channel-pixels in all.
        key: the noise key for one purpose of one request.
        table: the thresholds for sigma.
        start: index of the first sample, at least 0.
        out: int16, shape (samples, d), written in place: integers on the 1/255 grid, not clipped.

    Returns:
        A bool array of shape (samples,). It is True for each ambiguous sample: one with a word
        that determines no J.

    Raises:
        ValueError: the dtype or shape of `image` or `out` is wrong, or `start` is negative.
    """
    flat = np.ascontiguousarray(image).reshape(-1)
    if flat.dtype != np.uint8 or out.dtype != np.int16 or out.shape[1:] != flat.shape:
        raise ValueError(
            f"expected a uint8 image and an int16 array of shape (samples, {flat.size}), "
            f"got {flat.dtype} and {out.dtype} of shape {out.shape}"
        )
    if start < 0:
        raise ValueError(f"start must not be negative, got {start}")
    undecided = np.zeros(len(out), dtype=np.bool_)
    _fill(
        flat.astype(np.int16) + np.int16(table.first_index),
        np.uint64(key.low),
        np.uint64(key.high),
        np.uint64(start),
        table.thresholds,
        table.guide,
        table.decided,
        out,
        undecided,
    )
    return undecided
