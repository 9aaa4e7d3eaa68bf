"""The Triton kernel: its laws in the interpreter and on a GPU, and the machine code it becomes."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from waiting import HANG_S

LAWS = Path(__file__).with_name("triton_laws.py")
COMPILING = Path(__file__).with_name("compile_triton.py")
REPOSITORY = LAWS.parents[3]

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="triton is for Linux alone: run it there"
)


def run_laws(environment: dict[str, str], scratch: Path) -> None:
    """In a process of their own: triton reads TRITON_INTERPRET when it is imported."""
    inherited = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(LAWS)],
        cwd=REPOSITORY,
        env={**inherited, "TRITON_CACHE_DIR": str(scratch), **environment},
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-8000:] + run.stderr[-2000:]


@pytest.mark.long
def test_laws_hold_in_the_interpreter(tmp_path):
    run_laws({"TRITON_INTERPRET": "1"}, tmp_path)


@pytest.mark.skipif(
    not torch.cuda.is_available(),
    reason="torch finds no GPU (make setup TORCH=cuda, on a machine with one)",
)
def test_laws_hold_on_the_gpu(tmp_path):
    run_laws({}, tmp_path)


@pytest.fixture(scope="module")
def ptx(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The kernel compiled for an A100, which needs no GPU, in a process of its own.

    LLVM installs signal handlers of its own where it compiles.
    """
    inherited = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    return subprocess.run(
        [sys.executable, str(COMPILING)],
        cwd=REPOSITORY,
        env={**inherited, "TRITON_CACHE_DIR": str(tmp_path_factory.mktemp("triton"))},
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=True,
    ).stdout


def test_machine_code_compares_words_unsigned(ptx):
    assert re.search(r"setp\.(lt|ge)\.u64", ptx)
    assert re.search(r"mul\.hi\.u64", ptx)
    assert not re.search(r"setp\.\w+\.s64|mul\.hi\.s64|shr\.s64", ptx)


def test_machine_code_rounds_each_float_operation_once(ptx):
    """Correctly rounded division, subtraction after it, no multiplication that could fuse."""
    assert "div.rn.f32" in ptx
    assert "cvt.rn.bf16.f32" in ptx
    assert not re.search(r"div\.(full|approx)|rcp|mul\.\w*\.?f32|fma\.", ptx)
