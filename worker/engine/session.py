"""One image in the engine: the samples still to be drawn, and who takes what f says of them."""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from worker.engine.batch import Batch
from worker.engine.protocol import SessionOpened
from worker.images_store import Image
from worker.sampling.keys import KeyPurpose
from worker.sampling.table import NoiseTable
from worker.sampling.words import NoiseKey

if TYPE_CHECKING:
    from worker.engine.loaded_model import LoadedModel  # which holds what runs slices


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


Finish = Callable[[], None]
"""What is left to do when the device has computed a batch."""


class Taker(Protocol):
    """What is done with the samples of a session. Called from the thread that steps."""

    def take(self, samples: Samples, rows: slice, batch: Batch) -> Finish:
        """Takes the rows of a batch that are these samples, without waiting for the device."""


@dataclass(kw_only=True, eq=False)
class Session:
    """One image under one model: its noise, and the samples still to be drawn."""

    image: Image
    model: "LoadedModel"
    tables: tuple[NoiseTable, ...]
    keys: Mapping[KeyPurpose, NoiseKey]
    opened: SessionOpened
    taker: Taker
    pending: deque[Samples] = field(default_factory=deque)
    closed: bool = False

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


@dataclass(frozen=True, kw_only=True, eq=False)
class Slice:
    """Consecutive rows of a batch that belong to one session."""

    session: Session
    samples: Samples
    offset: int

    @property
    def rows(self) -> slice:
        return slice(self.offset, self.offset + self.samples.count)

    @property
    def key(self) -> NoiseKey:
        return self.session.keys[self.samples.purpose]

    @property
    def table(self) -> NoiseTable:
        return self.session.tables[self.samples.sigma_index]
