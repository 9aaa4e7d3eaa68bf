"""How a process that holds large blocks for a moment gives them back to the system."""

import ctypes

_MMAP_THRESHOLD = -3  # M_MMAP_THRESHOLD of malloc.h
_LARGE_BYTES = 256 * 1024


def return_large_blocks() -> None:
    """Makes the C library give each large block back when it is freed.

    By itself, glibc keeps blocks of up to 32 MB for later once it has freed one of that size. Other
    C libraries have no such setting, and are left as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _LARGE_BYTES)
