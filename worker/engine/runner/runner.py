"""From the samples of a batch to image features: noise, image tower, and who makes the noise."""

import logging
from collections.abc import Sequence
from subprocess import SubprocessError
from typing import Literal, Protocol

import torch

from models.vlm.vlm import VLM
from worker.engine.runner.batch import Batch, Slice
from worker.engine.runner.host import HostRunner
from worker.engine.runner.selftest import check_device_noise

log = logging.getLogger(__name__)

NoisePlace = Literal["auto", "host", "device"]


class DeviceNoiseMissing(ValueError):
    """Noise was to be made on the device, and cannot be."""


class Runner(Protocol):
    """Runs batches of one model at its one shape."""

    def run(self, slices: Sequence[Slice], *, turn: int) -> Batch:
        """Noise for every slice, all in one batch, through the image tower.

        Does not wait for the device where there is another than this CPU. Rows that belong to no
        slice hold anything. `turn` decides which words are recomputed by their definition.
        """


def create_runner(vlm: VLM, rows: int, noise: NoisePlace = "auto") -> Runner:
    """What runs a model's batches. Wherever noise is made it is the same, so certificates are too.

    Args:
        vlm: the model, on its device.
        rows: of every batch.
        noise: `auto` makes it on a CUDA device where Triton can run its kernel there; where it
            cannot, that is logged with the reason, and noise is made on the CPU.

    Raises:
        DeviceNoiseMissing: `device` was asked for, and the kernel cannot run there.
        NoiseMismatch: it runs and makes other noise; nothing falls back from that.
    """
    cuda = vlm.device.type == "cuda"
    if noise == "host" or (noise == "auto" and not cuda):
        return HostRunner(vlm, rows, threads=torch.get_num_threads())
    try:
        return _create_device_runner(vlm, rows)
    except torch.AcceleratorError:
        raise  # a device in this state computes nothing any more
    # An AssertionError is Triton's, where the loader's cache does not name the driver's library.
    except (ImportError, RuntimeError, OSError, SubprocessError, AssertionError) as error:
        reason = f"{type(error).__name__}: {error}"[:400]
        if noise == "device":
            raise DeviceNoiseMissing(
                f"PROMPTSMOOTH_NOISE is device, and the noise kernel cannot run on {vlm.device} "
                f"({reason}); outside our CUDA image Triton needs a C compiler at run time"
            ) from error
        log.warning("device_noise_missing", extra={"fields": {"reason": reason}})
        return HostRunner(vlm, rows, threads=torch.get_num_threads())


def _create_device_runner(vlm: VLM, rows: int) -> Runner:
    from worker.engine.runner.device import DeviceRunner  # imports triton
    from worker.engine.runner.launcher import use_compiled_launcher

    use_compiled_launcher()
    check_device_noise(vlm.device)
    return DeviceRunner(vlm, rows)
