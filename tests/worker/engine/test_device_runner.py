"""Noise on the device: its laws in Triton's interpreter, and where it cannot be made."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from waiting import HANG_S

from models.catalogue import load_catalogue
from models.loading.loading import load_vlm
from worker.engine.runner.host import HostRunner
from worker.engine.runner.runner import DeviceNoiseMissing, create_runner

LAWS = Path(__file__).with_name("device_laws.py")

needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="triton is for Linux alone: run it there"
)


@pytest.mark.long
@needs_triton
def test_laws_hold_in_the_interpreter(tmp_path):
    """In a process of their own: triton reads TRITON_INTERPRET when it is imported."""
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(LAWS)],
        cwd=LAWS.parents[3],
        env={**os.environ, "TRITON_CACHE_DIR": str(tmp_path), "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-8000:] + run.stderr[-2000:]


def test_noise_that_has_to_come_from_the_device_never_comes_from_elsewhere():
    """On a CPU without the interpreter, Triton has no device to compile for."""
    catalogue = load_catalogue()
    vlm = load_vlm(catalogue.get("bundled-2"), catalogue.folder("bundled-2"), torch.device("cpu"))
    assert isinstance(create_runner(vlm, 2, "auto"), HostRunner)
    if not torch.cuda.is_available():
        with pytest.raises(DeviceNoiseMissing, match="PROMPTSMOOTH_NOISE"):
            create_runner(vlm, 2, "device")
