"""Where the stored bits of a pixel lie, if HighBit is not BitsStored - 1 (PS3.5 8.1.1)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.imaging.dicom.codecs import extend_bits
from models.imaging.pixels.errors import PixelsUnsupported


def place_bits(
    cells: NDArray[Any], *, bits_stored: int, high_bit: int
) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Returns the stored values in pixel cells, and a note on what was decided.

    Older files do store their values higher. Other writers state a HighBit that their values do not
    have. The cells tell which it is: all values lie in the bits that HighBit names, or all lie in
    the low ones.

    Args:
        cells: all allocated bits, as integers; signed ones hold signed values.
        bits_stored: the number of bits of a value.
        high_bit: the highest of them, as the file says; at least `bits_stored` - 1.

    Raises:
        PixelsUnsupported: neither is so, perhaps because other bits hold an overlay.
    """
    shift = high_bit + 1 - bits_stored
    high, low = extend_bits(cells >> shift, bits_stored), extend_bits(cells, bits_stored)
    if np.array_equal(high << shift, cells):
        return high, (f"The pixels are stored with HighBit {high_bit}, {shift} bits higher.",)
    if np.array_equal(low, cells):
        note = (
            f"HighBit is {high_bit}, but the pixels use the low {bits_stored} bits, which were "
            "read."
        )
        return low, (note,)
    raise PixelsUnsupported(
        f"Expected pixels in {bits_stored} bits up to bit {high_bit}, as BitsStored and HighBit "
        "say, or in the lowest ones, got other bits too. Convert the image."
    )
