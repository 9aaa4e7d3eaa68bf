"""Prints the machine code (PTX) that the Triton kernel becomes for an A100."""

import sys
from pathlib import Path

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

sys.path.insert(0, str(Path.cwd()))
from worker.sampling.triton_kernel import _sample_kernel

SIGNATURE = {
    "image": "*u8",
    "stream": "*i64",
    "thresholds": "*i64",
    "guide": "*i32",
    "entries": "i32",
    "first_index": "i32",
    "mean": "*fp32",
    "std": "*fp32",
    "integers": "*i16",
    "pixels": "*bf16",
    "undecided": "*i32",
}
CONSTANTS = {"plane": 224 * 224, "blocks": 256, "with_integers": True, "with_pixels": True}

source = ASTSource(
    _sample_kernel, {**SIGNATURE, **dict.fromkeys(CONSTANTS, "constexpr")}, CONSTANTS
)
sys.stdout.write(triton.compile(source, target=GPUTarget("cuda", 80, 32)).asm["ptx"])
