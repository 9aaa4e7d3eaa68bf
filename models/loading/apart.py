"""Reads and tries out networks that may be hostile, in a process of its own.

OpenVINO and the reader of ONNX are large programs in C++. What crashes them, or takes more memory
or time than it may, ends that process alone.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from models.catalogue.cards import ModelCard, ModelDescription
from models.catalogue.weights import NetworkRefused

MEMORY_BYTES = 8 * 2**30
"""What the process may take beside four times the length of what it reads."""

_TIMEOUT_S = 600
# Where programs and libraries are. No other variables are passed on: they can hold secrets.
_ENVIRONMENT = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TMPDIR")


def take_in_apart(
    description: ModelDescription, path: Path, folder: Path, *, memory_bytes: int = MEMORY_BYTES
) -> tuple[Path, ...]:
    """Takes an ONNX network into a folder elsewhere; see `models.loading.onnx.take_in`.

    Returns the files beside it that it needed.

    Raises:
        NetworkRefused: it is not one that can be certified, or took too much memory or time.
    """
    order = {
        "description": description.model_dump(mode="json", exclude={"files", "origin"}),
        "path": str(path),
        "folder": str(folder),
    }
    names = json.loads(_run(order, memory_bytes + 4 * path.stat().st_size, _TIMEOUT_S))
    return tuple(path.parent / name for name in names)


def try_apart(
    card: ModelCard,
    folder: Path,
    *,
    memory_bytes: int = MEMORY_BYTES,
    timeout_s: float = _TIMEOUT_S,
) -> None:
    """Loads the network of a card elsewhere and runs a few images and the card's classes through.

    Args:
        memory_bytes: beside four times the length of the model's files.
        timeout_s: the most seconds that it may take.

    Raises:
        NetworkRefused: it cannot be loaded or run, or took too much memory or time.
    """
    order = {"card": card.model_dump(mode="json"), "folder": str(folder)}
    length = sum(file.size_bytes for file in card.files)
    _run(order, memory_bytes + 4 * length, timeout_s)


def _run(order: dict[str, Any], memory_bytes: int, timeout_s: float) -> str:
    """What `models.loading.program` answers to an order."""
    command = [sys.executable, "-P", "-m", "models.loading.program"]
    try:
        ended = subprocess.run(  # noqa: S603 (our own program)
            command,
            input=json.dumps({**order, "memory_bytes": memory_bytes}).encode(),
            env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise NetworkRefused(f"OpenVINO did not load it within {timeout_s:g} s") from None
    said = ended.stdout.decode(errors="replace").strip()
    if ended.returncode != 0:
        raise NetworkRefused(
            said or f"reading it crashed, or it needs more than {memory_bytes / 1e9:.1f} GB"
        )
    return said
