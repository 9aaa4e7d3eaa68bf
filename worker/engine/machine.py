"""The device and the threads an engine computes with."""

import os

import torch


def choose_device(name: str) -> torch.device:
    """The device a setting names; `auto` is CUDA where there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def set_threads(threads: int) -> None:
    """Sets the CPU threads of this process; 0 means one for each core it may use."""
    torch.set_num_threads(threads or len(os.sched_getaffinity(0)))
