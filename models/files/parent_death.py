"""Ends a process when its parent ends."""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int) -> None:
    """Asks the kernel to kill this process when its parent ends, even by SIGKILL (Linux only).

    To the kernel, the parent is the thread that started this process, so that thread must live as
    long as its process.

    Args:
        parent: the parent's id, taken before the fork, so that a parent that has already ended is
            noticed.
    """
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
