"""The device and the threads that an engine computes with."""

import os

import torch


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
    torch.set_num_threads(threads or len(os.sched_getaffinity(0)))
