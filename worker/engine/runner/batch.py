"""One batch of the image tower: its samples, features, and the votes on their way to the host."""

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
        """The number of options to vote for."""

    @property
    def key(self) -> tuple[object, ...]:
        """Identifies the voter's behaviour: voters of one model with equal keys vote alike."""

    def vote(self, image_features: Tensor) -> Tensor:
        """(B, D) to int64 (B,): the index of an option, or NO_VOTE where the vote is not safe."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Witness:
    """Some of the values given to f, and the check to run on them once they reach the host."""

    values: Tensor
    examine: Callable[[Tensor], None]


@final
class Batch:
    """The features of all rows, and their votes.

    Nothing waits for the device before `wait`: votes are cast and sent, and read once the next
    batch is under way. The host receives every single vote, at two bytes each, because the Merkle
    root is over them. Counting on the device would therefore save nothing.

    Args:
        image_features: (B, D), on the model's device. The next batch may overwrite them.
        undecided: bool (B,), on the model's device: the rows whose noise is ambiguous.
        witness: values that show whether the noise is the defined noise.
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
        """Casts the votes of all rows and returns their place. Voters with equal keys share one.

        The whole batch votes, so that a row's position cannot matter. A row whose noise is
        ambiguous gets NO_VOTE.
        """
        if voter.key not in self._places:
            with torch.inference_mode():
                votes = torch.where(self._undecided, NO_VOTE, voter.vote(self.image_features))
                self._cast.append(votes.to(torch.int16))
            self._places[voter.key] = len(self._cast) - 1
        return self._places[voter.key]

    def send(self) -> None:
        """Sends all votes to the host. Cast no votes after that."""
        rows = len(self._undecided)
        votes = torch.stack(self._cast) if self._cast else torch.empty((0, rows))
        values = self._witness.values if self._witness is not None else None
        self._sent = (_to_host(votes), None if values is None else _to_host(values))
        if self.image_features.device.type == "cuda":
            self._event = torch.cuda.Event()
            self._event.record()

    def wait(self) -> None:
        """Waits until the votes have reached the host.

        Raises:
            worker.engine.runner.selftest.NoiseMismatch: the noise is not the defined noise.
                Nothing from this batch may be used.
        """
        assert self._sent is not None, "call send first"
        if self._event is not None:
            self._event.synchronize()
        if self._witness is not None and self._sent[1] is not None:
            self._witness.examine(self._sent[1])

    def votes(self, place: int) -> Votes:
        """The votes of all rows at a place that `cast` returned. Call `wait` first."""
        assert self._sent is not None, "call send first"
        return self._sent[0][place].numpy().astype(np.int64)


def _to_host(tensor: Tensor) -> Tensor:
    return tensor.to("cpu", non_blocking=True)  # pinned memory if it comes from a GPU


Finish = Callable[[], None]
"""The work that remains once the device has computed a batch."""


class Taker(Protocol):
    """Processes the samples of a session. It is called from the thread that steps."""

    def take(self, samples: Samples, rows: slice, batch: Batch) -> Finish:
        """Takes the batch rows that hold these samples, without waiting for the device."""
