"""Counter-based random words: a pure function of (key, sample, channel-pixel).

Word i of sample s is output i of Philox4x64-10 (Salmon et al., SC 2011) under `key`. The counter
lanes are (block, s, 0, 0); blocks are counted from 1 and hold four words each. The reference is
numpy's `Philox`, which increments its counter before the first block. The words depend on neither
batch size, shard, device nor launch shape.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class NoiseKey(NamedTuple):
    """128 bits that determine every word for one purpose of one request."""

    low: int
    high: int

    @property
    def text(self) -> str:
        """The key as 32 hexadecimal digits, high word first."""
        return f"{self.high:016x}{self.low:016x}"

    @classmethod
    def parse(cls, text: str) -> "NoiseKey":
        """The key whose `text` this is.

        Raises:
            ValueError: `text` is not 32 hexadecimal digits.
        """
        if len(text) != 32:
            raise ValueError(f"a noise key has 32 hexadecimal digits, got {len(text)} characters")
        return cls(int(text[16:], 16), int(text[:16], 16))


def sample_words(key: NoiseKey, sample: int, count: int) -> npt.NDArray[np.uint64]:
    """The first `count` words of one sample: shape (count,), uniform on 0 .. 2**64 - 1.

    Raises:
        ValueError: `sample` is negative.
    """
    if sample < 0:
        raise ValueError(f"sample must not be negative, got {sample}")
    counter = np.array([0, sample, 0, 0], dtype=np.uint64)
    philox = np.random.Philox(key=np.array(key, dtype=np.uint64), counter=counter)
    return np.asarray(philox.random_raw(count), dtype=np.uint64)
