"""Noise made on the CPU, by several threads at once; the image tower wherever the model lies."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np
import numpy.typing as npt
import torch

from models.vlm.vlm import VLM
from worker.engine.runner.batch import Batch, Slice
from worker.engine.runner.selftest import spot_check
from worker.sampling.kernel import sample_noisy_images

_BUFFERS = 2  # one is filled while a GPU still reads the other


@dataclass(frozen=True, kw_only=True)
class _Piece:
    """Rows of a slice that one thread fills."""

    part: Slice
    first: int
    rows: slice


@final
class HostRunner:
    """A `Runner` whose noise comes from the compiled loop, which lets other threads run.

    On a CPU all threads make noise and then all compute the image tower. Making the next batch's
    noise beside the tower would take the cores that the tower has: it is no faster there.

    Args:
        vlm: the model.
        rows: of every batch.
        threads: that make noise; more change no integer.
    """

    def __init__(self, vlm: VLM, rows: int, *, threads: int) -> None:
        self._vlm, self._rows, self._threads = vlm, rows, threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="noise")

    @cached_property
    def _buffers(self) -> list[torch.Tensor]:
        size, cuda = self._vlm.card.preprocessing.size, self._vlm.device.type == "cuda"
        shape = (self._rows, 3, size, size)
        return [
            torch.zeros(shape, dtype=torch.int16, pin_memory=cuda)
            for _ in range(_BUFFERS if cuda else 1)
        ]

    def run(self, slices: Sequence[Slice], *, turn: int) -> Batch:
        """See `Runner`."""
        pixels = self._buffers[turn % len(self._buffers)]
        noisy = pixels.numpy().reshape(len(pixels), -1)
        undecided = np.zeros(len(noisy), dtype=np.bool_)
        self._sample(slices, noisy, undecided)
        part = slices[turn % len(slices)]
        spot_check(
            part.image,
            part.key,
            part.table,
            start=part.samples.start,
            out=noisy[part.rows],
            turn=turn,
        )
        device = self._vlm.device
        with torch.inference_mode():
            features = self._vlm.encode_images(pixels.to(device, non_blocking=True))
            return Batch(features, torch.from_numpy(undecided).to(device))

    def _sample(
        self,
        slices: Sequence[Slice],
        noisy: npt.NDArray[np.int16],
        undecided: npt.NDArray[np.bool_],
    ) -> None:
        def sample_piece(piece: _Piece) -> None:
            undecided[piece.rows] = sample_noisy_images(
                piece.part.image,
                piece.part.key,
                piece.part.table,
                start=piece.first,
                out=noisy[piece.rows],
            )

        pieces = list(_cut(slices, self._threads))
        others = [self._pool.submit(sample_piece, piece) for piece in pieces[1:]]
        sample_piece(pieces[0])
        for other in others:
            other.result()


def _cut(slices: Sequence[Slice], threads: int) -> Iterator[_Piece]:
    """All rows in pieces, about as many as threads and as long as one another."""
    total = sum(part.samples.count for part in slices)
    most = -(-total // threads)
    for part in slices:
        for begin in range(0, part.samples.count, most):
            end = min(begin + most, part.samples.count)
            yield _Piece(
                part=part,
                first=part.samples.start + begin,
                rows=slice(part.offset + begin, part.offset + end),
            )
