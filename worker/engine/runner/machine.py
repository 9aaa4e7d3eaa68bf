"""The device and the threads that an engine computes with."""

import math
import os
from pathlib import Path

import torch

_CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of the container that this process is in


class DeviceMissing(ValueError):
    """The device named by a setting is missing."""


def choose_device(name: str) -> torch.device:
    """The device named by a setting. `auto` means CUDA where available, else the CPU.

    Raises:
        DeviceMissing: the setting is `cuda`, but no CUDA device is available.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise DeviceMissing("PROMPTSMOOTH_DEVICE is cuda, but torch finds no CUDA device here")
    return torch.device(name)


def set_threads(threads: int) -> None:
    """Sets the number of CPU threads of this process. 0 means one per core it may use."""
    torch.set_num_threads(threads or count_cores())


def count_cores(quota: Path = _CPU_QUOTA) -> int:
    """The cores that this process may use: those it may run on, and no more than its quota.

    Args:
        quota: the file in which Linux states a container's quota, `MICROSECONDS PERIOD` or
            `max PERIOD`. Without the file there is no quota. A part of a core counts as one.
    """
    allowed = len(os.sched_getaffinity(0))
    try:
        microseconds, period = quota.read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return allowed
    if microseconds == "max":
        return allowed
    return min(allowed, math.ceil(int(microseconds) / int(period)))
