"""The device and the threads an engine computes with."""

import os

import torch


class DeviceMissing(ValueError):
    """The device a setting names is not there."""


def choose_device(name: str) -> torch.device:
    """The device a setting names; `auto` is CUDA where there is one.

    Raises:
        DeviceMissing: cuda was asked for and there is none.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise DeviceMissing("PROMPTSMOOTH_DEVICE is cuda, but torch finds no CUDA device here")
    return torch.device(name)


def set_threads(threads: int) -> None:
    """Sets the CPU threads of this process; 0 means one for each core it may use."""
    torch.set_num_threads(threads or len(os.sched_getaffinity(0)))
