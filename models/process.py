"""A process that ends with whoever started it."""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int | None = None) -> None:
    """Has the kernel kill this process when its parent ends, even by SIGKILL (Linux).

    The parent is the thread that started this process: it must not end before its process does.

    Args:
        parent: the parent's id where it was known before the fork; then a parent that ended before
            this call is noticed too.
    """
    if not sys.platform.startswith("linux"):
        return
    parent = os.getppid() if parent is None else parent
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
