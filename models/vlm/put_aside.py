"""Weights that wait in a file, so that memory is free for another copy of them."""

import mmap
import tempfile
from pathlib import Path
from typing import final

import torch

_ALIGNMENT = 64  # bytes; what OpenVINO asks of a constant that it takes as it lies


@final
class WeightsAside:
    """The parameters of a frozen module on the CPU, moved into a file without a name.

    The module computes as before. The system reads a page of the file when it is used, and takes
    it back when memory is short. The file has no name, so no other program can change it, and it
    goes when the module does. `size_bytes` is what it takes on the disk.

    Args:
        module: its parameters need no gradient.
        folder: where the file lies, on a disk: a folder in memory would free none. None takes the
            system's folder for temporary files.

    Raises:
        OSError: the folder takes no such file.
    """

    def __init__(self, module: torch.nn.Module, folder: Path | None) -> None:
        places = _arrange(list(module.parameters()))
        self.size_bytes = sum(leaf.nbytes for leaf, _ in places)
        with tempfile.TemporaryFile(dir=folder) as file:
            for leaf, begin in places:
                file.seek(begin)
                file.write(_get_bytes(leaf))
            file.truncate(file.tell() + 1)  # a file without a byte cannot be mapped
            file.flush()
            # Private: a write would go to a copy of the page. Nobody writes.
            self._pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        for leaf, begin in places:
            found = torch.frombuffer(
                self._pages, dtype=leaf.dtype, count=leaf.numel(), offset=begin
            )
            leaf.data = found.view(leaf.shape)

    def leave_memory(self) -> None:
        """Gives the pages back to the system. They are read again when they are used."""
        self._pages.madvise(mmap.MADV_DONTNEED)


def _arrange(leaves: list[torch.nn.Parameter]) -> list[tuple[torch.nn.Parameter, int]]:
    """Each parameter that is not empty, and the byte at which it begins."""
    places, at = [], 0
    for leaf in leaves:
        if leaf.numel():
            places.append((leaf, at))
            at += -(-leaf.nbytes // _ALIGNMENT) * _ALIGNMENT
    return places


def _get_bytes(leaf: torch.nn.Parameter) -> memoryview:
    flat = leaf.detach().contiguous().view(-1).view(torch.uint8)
    return flat.numpy().data
