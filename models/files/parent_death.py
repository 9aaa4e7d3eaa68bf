"""A process that ends with whoever started it."""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int) -> None:
    """Has the kernel kill this process when its parent ends, even by SIGKILL (Linux).

    The parent is the thread that started this process: it must not end before its process does.

    Args:
        parent: the parent's id, known before the fork: one that ended before this call is noticed.
    """
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
