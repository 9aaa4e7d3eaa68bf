"""One image in the engine: the samples still to be drawn, and who takes what f says of them."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor

from worker.engine.loaded_model import LoadedModel
from worker.engine.protocol import SessionOpened
from worker.images_store import Image
from worker.sampling.keys import KeyPurpose
from worker.sampling.table import NoiseTable
from worker.sampling.words import NoiseKey


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Samples start .. stop - 1 of one noise level and purpose."""

    sigma_index: int
    purpose: KeyPurpose
    start: int
    stop: int

    @property
    def count(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """One run of the image tower: features of all rows, and the rows whose noise is undecided.

    `image_features` is (B, D), on the model's device; `undecided` is (B,).
    """

    image_features: Tensor
    undecided: npt.NDArray[np.bool_]


class Taker(Protocol):
    """What is done with the samples of a session."""

    def take(self, samples: Samples, rows: slice, batch: Batch) -> None:
        """Takes the rows of a batch that are these samples. Called from the thread that steps."""


@dataclass(kw_only=True, eq=False)
class Session:
    """One image under one model: its noise, and the samples still to be drawn."""

    image: Image
    model: LoadedModel
    tables: tuple[NoiseTable, ...]
    keys: Mapping[KeyPurpose, NoiseKey]
    opened: SessionOpened
    taker: Taker
    pending: deque[Samples] = field(default_factory=deque)

    @property
    def model_id(self) -> str:
        """The model's id."""
        return self.opened.identity.model.id

    def draw(self, limit: int) -> Samples | None:
        """The next samples of this session, at most `limit` of them."""
        if not self.pending:
            return None
        first = self.pending.popleft()
        stop = min(first.stop, first.start + limit)
        if stop < first.stop:
            self.pending.appendleft(replace(first, start=stop))
        return replace(first, stop=stop)
