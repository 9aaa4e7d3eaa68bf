"""Hides the warnings and the many kinds of exceptions of decoders from callers."""

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from models.imaging.pixels.errors import ImageBroken, ImageError, ImageTooLarge

# Catching warnings changes the state of the whole process, so only one image is decoded at a time.
# That also limits the memory that decoding takes.
_one_at_a_time = threading.Lock()


@contextmanager
def guarded() -> Iterator[list[warnings.WarningMessage]]:
    """Lets only ImageError out of a decoder, and yields the list that collects its warnings.

    A decoder's own messages can hold tag values, so they are neither shown, logged nor chained.
    """
    for name in ("PIL", "pydicom", "pylibjpeg", "openjpeg", "tifffile"):
        logger = logging.getLogger(name)
        logger.propagate = False
        if not logger.handlers:  # else logging writes warnings to standard error
            logger.addHandler(logging.NullHandler())
    with _one_at_a_time, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield caught
        except ImageError:
            raise
        except MemoryError:
            raise ImageTooLarge(
                "Expected an image that fits into memory, got one that asks for more. "
                "Scale the image down."
            ) from None
        except Exception:
            raise ImageBroken(
                "Expected a complete, well-formed image, got one that cannot be decoded. "
                "Export it again, or send it as PNG."
            ) from None
