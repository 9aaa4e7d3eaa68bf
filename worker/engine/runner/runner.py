"""Runs batches, from samples to image features, and chooses where the noise is made."""

from collections.abc import Sequence
from subprocess import SubprocessError
from typing import Literal, Protocol

import torch

from models.log import get_logger
from models.vlm.vlm import VLM
from worker.engine.runner.batch import Batch, Slice
from worker.engine.runner.host import HostRunner
from worker.engine.runner.selftest import check_device_noise

log = get_logger(__name__)

NoisePlace = Literal["auto", "host", "device"]


class DeviceNoiseMissing(ValueError):
    """The settings require noise made on the device, which is not possible here."""


class Runner(Protocol):
    """Runs batches of one model at its fixed shape."""

    def run(self, slices: Sequence[Slice], *, turn: int) -> Batch:
        """Makes the noise of all slices and runs them through the image tower in one batch.

        Does not wait for a device other than the CPU. Rows that belong to no slice hold arbitrary
        values. `turn` selects the words that are checked against their definition.
        """


def create_runner(vlm: VLM, rows: int, noise: NoisePlace = "auto") -> Runner:
    """The runner for a model. The noise, and so every certificate, is the same wherever it is made.

    Args:
        vlm: the model, on its device.
        rows: the number of rows of every batch.
        noise: where to make the noise. `auto` makes it on a CUDA device if Triton can run the
            kernel there. If not, the reason is logged and the noise is made on the CPU.

    Raises:
        DeviceNoiseMissing: `noise` is `device`, but the kernel cannot run there.
        NoiseMismatch: the kernel runs but makes other noise. There is no fallback then.
    """
    cuda = vlm.device.type == "cuda"
    if noise == "host" or (noise == "auto" and not cuda):
        return HostRunner(vlm, rows, threads=torch.get_num_threads())
    try:
        return _create_device_runner(vlm, rows)
    except torch.AcceleratorError:
        raise  # a device in this state can compute nothing more
    # Triton raises AssertionError if the loader's cache does not list the driver's library.
    except (ImportError, RuntimeError, OSError, SubprocessError, AssertionError) as error:
        reason = f"{type(error).__name__}: {error}"[:400]
        if noise == "device":
            raise DeviceNoiseMissing(
                f"PROMPTSMOOTH_NOISE is device, but the noise kernel cannot run on {vlm.device} "
                f"({reason}); outside our CUDA image, Triton needs a C compiler at run time"
            ) from error
        log.warning("device_noise_missing", reason=reason)
        return HostRunner(vlm, rows, threads=torch.get_num_threads())


def _create_device_runner(vlm: VLM, rows: int) -> Runner:
    from worker.engine.runner.device import DeviceRunner  # imports triton
    from worker.engine.runner.launcher import use_compiled_launcher

    use_compiled_launcher()
    check_device_noise(vlm.device)
    return DeviceRunner(vlm, rows)
