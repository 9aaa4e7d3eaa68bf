"""Decodes untrusted image files in separate, bounded processes."""

import weakref
from collections.abc import Sequence
from queue import LifoQueue
from types import TracebackType
from typing import Self

from models.catalogue.cards import Preprocessing
from models.imaging.decoder.order import Order
from models.imaging.decoder.process import DecoderProcess
from models.imaging.pixels.errors import ImageEmpty
from models.imaging.pixels.limits import DecodingBounds, ImageLimits
from models.imaging.pixels.window import RequestedWindow, check_window
from models.imaging.prepare import PreparedImage


class Decoder:
    """Prepares untrusted files, each in its own process with limits on time and memory.

    Whatever the bytes are, no decoder runs in the caller's process, and the outcome is an image or
    an `ImageError`. Several threads may use one Decoder; they wait while all processes are busy.

    Args:
        processes: How many images may be decoded at once.
        bounds: Limits for the process of one image.
        limits: Checked on headers, before memory is allocated.
        refuse_burned_in: Whether to refuse DICOM files that declare burned-in text. If False, a
            note reports it.
    """

    def __init__(
        self,
        *,
        processes: int = 1,
        bounds: DecodingBounds | None = None,
        limits: ImageLimits | None = None,
        refuse_burned_in: bool = False,
    ) -> None:
        if processes < 1:
            raise ValueError(f"Expected at least 1 process, got {processes}.")
        self._bounds = bounds or DecodingBounds()
        self._limits = limits or ImageLimits()
        self._refuse_burned_in = refuse_burned_in
        self._all = [DecoderProcess() for _ in range(processes)]
        self._free: LifoQueue[DecoderProcess] = LifoQueue()
        for process in self._all:
            self._free.put(process)
        self.close = weakref.finalize(self, _end_all, self._all)

    def start(self) -> None:
        """Starts one process in the background, so that the first image need not wait for it."""
        process = self._free.get()
        try:
            process.start()
        finally:
            self._free.put(process)

    def prepare(
        self,
        data: bytes,
        preprocessing: Preprocessing,
        *,
        frame: int | None = None,
        window: RequestedWindow = None,
        picture_side: int | None = None,
    ) -> PreparedImage:
        """Does the same as `models.imaging.prepare`, with limits on time and memory.

        Raises:
            ImageError: see `models.imaging.pixels.errors`.
            DecodingUnavailable: nothing can be decoded here at the moment.
        """
        check_window(window)
        if not data:
            raise ImageEmpty
        self._limits.check_file(len(data))
        order = Order(
            preprocessing=preprocessing,
            frame=frame,
            window=window,
            picture_side=picture_side,
            limits=self._limits,
            refuse_burned_in=self._refuse_burned_in,
            bounds=self._bounds,
        )
        if not self.close.alive:
            raise ValueError("Expected an open decoder, got one that was closed.")
        process = self._free.get()
        try:
            return process.ask(order, data)
        finally:
            self._free.put(process)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.close()


def _end_all(processes: Sequence[DecoderProcess]) -> None:
    for process in processes:
        process.end()
