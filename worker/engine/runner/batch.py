"""One run of the image tower: the samples in it, and the votes of its rows on their way out."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from worker.certification.merkle import NO_VOTE
from worker.contract.image import Image
from worker.sampling.keys import KeyPurpose
from worker.sampling.table import NoiseTable
from worker.sampling.words import NoiseKey

Votes = npt.NDArray[np.int64]


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

    @property
    def stream(self) -> tuple[int, KeyPurpose]:
        return self.sigma_index, self.purpose


@dataclass(frozen=True, kw_only=True, eq=False)
class Slice:
    """Consecutive rows of a batch: samples of one image with the noise of one key and table."""

    image: Image
    key: NoiseKey
    table: NoiseTable
    samples: Samples
    offset: int

    @property
    def rows(self) -> slice:
        return slice(self.offset, self.offset + self.samples.count)


class Voter(Protocol):
    """Turns image features into votes."""

    @property
    def num_options(self) -> int:
        """How many different votes there are."""

    @property
    def key(self) -> tuple[object, ...]:
        """Voters of one model with equal keys vote alike."""

    def vote(self, image_features: Tensor) -> Tensor:
        """(B, D) to int64 (B,): an option's index, or NO_VOTE where it is not safe."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Witness:
    """Some of what f was given, and what looks at it once it has come to the host."""

    values: Tensor
    examine: Callable[[Tensor], None]


@final
class Batch:
    """Features of all rows, and what voters make of them.

    Nothing waits for the device before `votes`: a batch is cast on, sent, and looked at when the
    next one is under way. The single votes come over, two bytes each, for the Merkle root is over
    them; counting on the device would save nothing.

    Args:
        image_features: (B, D), on the model's device; may be overwritten by the next batch.
        undecided: bool (B,), there too: rows whose noise is undecided.
        witness: what shows that the noise was the noise defined.
    """

    def __init__(
        self, image_features: Tensor, undecided: Tensor, witness: Witness | None = None
    ) -> None:
        self.image_features, self._undecided, self._witness = image_features, undecided, witness
        self._places: dict[tuple[object, ...], int] = {}
        self._cast: list[Tensor] = []
        self._sent: tuple[Tensor, Tensor | None] | None = None
        self._event: torch.cuda.Event | None = None

    def cast(self, voter: Voter) -> int:
        """Has all rows vote, and names the place of the votes. Voters that are alike share one.

        The whole batch votes, so that a row's place cannot matter. A row whose noise is undecided
        votes for nobody.
        """
        if voter.key not in self._places:
            with torch.inference_mode():
                votes = torch.where(self._undecided, NO_VOTE, voter.vote(self.image_features))
                self._cast.append(votes.to(torch.int16))
            self._places[voter.key] = len(self._cast) - 1
        return self._places[voter.key]

    def send(self) -> None:
        """Sends all votes to the host, after which none is cast."""
        rows = len(self._undecided)
        votes = torch.stack(self._cast) if self._cast else torch.empty((0, rows))
        values = self._witness.values if self._witness is not None else None
        self._sent = (_to_host(votes), None if values is None else _to_host(values))
        if self.image_features.device.type == "cuda":
            self._event = torch.cuda.Event()
            self._event.record()

    def wait(self) -> None:
        """Waits until the votes are here.

        Raises:
            worker.engine.runner.selftest.NoiseMismatch: the noise was not the noise defined;
                nothing of this batch may be used.
        """
        assert self._sent is not None, "it was sent"
        if self._event is not None:
            self._event.synchronize()
        if self._witness is not None and self._sent[1] is not None:
            self._witness.examine(self._sent[1])

    def votes(self, place: int) -> Votes:
        """The votes of all rows at a place, after `wait`."""
        assert self._sent is not None, "it was sent"
        return self._sent[0][place].numpy().astype(np.int64)


def _to_host(tensor: Tensor) -> Tensor:
    return tensor.to("cpu", non_blocking=True)  # pinned, where it comes from a GPU


Finish = Callable[[], None]
"""What is left to do when the device has computed a batch."""


class Taker(Protocol):
    """What is done with the samples of a session. Called from the thread that steps."""

    def take(self, samples: Samples, rows: slice, batch: Batch) -> Finish:
        """Takes the rows of a batch that are these samples, without waiting for the device."""
