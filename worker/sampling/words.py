"""Counter-based random words: a pure function of (key, sample, channel-pixel).

Word i of sample s is output i of Philox4x64-10 (Salmon et al., SC 2011) keyed by `key`, with the
counter lanes (block, s, 0, 0), blocks counted from 1, four words a block. That is numpy's
`Philox`, which increments its counter before the first block, and it is the reference here. The
words depend on no batch size, shard, device or launch shape.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class NoiseKey(NamedTuple):
    """128 bits that decide every word of one purpose of one request."""

    low: int
    high: int

    @property
    def text(self) -> str:
        """The key as 32 hexadecimal digits, the high word first."""
        return f"{self.high:016x}{self.low:016x}"

    @classmethod
    def parse(cls, text: str) -> "NoiseKey":
        """The key that `text` gave. ValueError when it is not 32 hexadecimal digits."""
        if len(text) != 32:
            raise ValueError("a noise key has 32 hexadecimal digits")
        return cls(int(text[16:], 16), int(text[:16], 16))


def sample_words(key: NoiseKey, sample: int, count: int) -> npt.NDArray[np.uint64]:
    """The first `count` words of one sample, shape (count,), uniform on 0 .. 2**64 - 1."""
    if sample < 0:
        raise ValueError(f"sample must not be negative, got {sample}")
    counter = np.array([0, sample, 0, 0], dtype=np.uint64)
    philox = np.random.Philox(key=np.array(key, dtype=np.uint64), counter=counter)
    return np.asarray(philox.random_raw(count), dtype=np.uint64)
