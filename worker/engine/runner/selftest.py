"""Checks the noise: against known answers before an engine serves, and in every batch it runs."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from worker.sampling.kernel import sample_noisy_images
from worker.sampling.table import NoiseTable, create_noise_table
from worker.sampling.words import NoiseKey, sample_words

if TYPE_CHECKING:
    import torch

_KEY = NoiseKey(0x0123456789ABCDEF, 0xFEDCBA9876543210)
_START, _SAMPLES = 2**32 - 1, 3  # sample indices on both sides of 32 bits
_SHAPE = (3, 37, 37)  # not a multiple of four words
_FROZEN = {  # sha256 of the integers at each sigma: a change here would change every certificate
    "0.004": "952f421ecce4e9bbff9c7fd4e09efd3487ed1131a85693907e3854007dfdd2a5",
    "0.5": "ba2d9088306a0d46e6c4a6f5577a386b8a543f82015b0cbf6f9648877903649d",
}
_SPOTS = 3  # Philox blocks checked per batch
_R2 = (0xC13FA9A902A6328F, 0x91E10DA5C79E7B1D)  # 2**64 / g and 2**64 / g**2 with g**3 = g + 1


class NoiseMismatch(Exception):
    """The noise made on this machine is not the noise that certificates are about."""


def check_noise() -> None:
    """Passes if compiled noise and numpy's noise both give the frozen answers, at two sigmas.

    Numpy's words and a search in the thresholds distinguish a faulty compiler from a changed
    definition. The frozen answers detect a change of the definition, the table or numpy.

    Raises:
        NoiseMismatch: a certificate from this machine would be about other noise.
    """
    for sigma in _FROZEN:
        table = create_noise_table(sigma)
        _require_frozen(_defined(table), sigma, "numpy's noise")
        found = np.empty((_SAMPLES, *_SHAPE), dtype=np.int16).reshape(_SAMPLES, -1)
        sample_noisy_images(_image(), _KEY, table, start=_START, out=found)
        _require_frozen(found, sigma, "compiled noise")


def check_device_noise(device: "torch.device") -> None:
    """Passes if the Triton kernel gives the frozen answers on this device.

    Raises:
        NoiseMismatch: a certificate from this device would be about other noise.
    """
    import torch

    from worker.sampling.triton_kernel import sample_noisy_integers

    image = torch.from_numpy(_image()).to(device)
    for sigma in _FROZEN:
        found = torch.empty((_SAMPLES, *_SHAPE), dtype=torch.int16, device=device)
        sample_noisy_integers(image, _KEY, create_noise_table(sigma), start=_START, out=found)
        _require_frozen(found.cpu().numpy(), sigma, f"noise of {device.type}")


def _image() -> npt.NDArray[np.uint8]:
    return np.arange(np.prod(_SHAPE)).astype(np.uint8).reshape(_SHAPE)


def _defined(table: NoiseTable) -> npt.NDArray[np.int16]:
    """X + J by the definition: numpy's words and a search in the thresholds."""
    image = _image().ravel()
    words = np.stack([sample_words(_KEY, _START + row, image.size) for row in range(_SAMPLES)])
    decided, j = _find_j(table, words)
    assert decided.all()
    return (image + j).astype(np.int16)


def _require_frozen(found: npt.NDArray[np.int16], sigma: str, what: str) -> None:
    if hashlib.sha256(found.astype("<i2").tobytes()).hexdigest() != _FROZEN[sigma]:
        raise NoiseMismatch(
            f"{what} at sigma {sigma} is not the defined noise; this machine cannot certify"
        )


def spot_check(
    image: npt.NDArray[np.uint8],
    key: NoiseKey,
    table: NoiseTable,
    *,
    start: int,
    out: "npt.NDArray[np.int16] | torch.Tensor",
    turn: int,
) -> None:
    """Passes if a few integers of a batch are those of the definition. Takes about 0.1 ms.

    Twelve words are recomputed with numpy's Philox and a search in the thresholds. `turn` decides
    which; it does not depend on the noise, and successive turns cover any batch evenly. A word that
    determines no J is skipped, because its sample is ambiguous whatever was written.

    Args:
        image, key, table, start: what `out` was made from.
        out: X + J of samples start, start + 1, ...; int16 (samples, *image.shape) or (samples, d),
            an array or a tensor on any device.
        turn: the number of batches checked before.

    Raises:
        NoiseMismatch: an integer is wrong. Nothing counted from this batch may be used.
    """
    rows = out.reshape(len(out), -1)
    for spot in find_spots(image, key, table, start=start, rows=len(out), turn=turn):
        spot.examine(np.array(rows[spot.row, spot.places].tolist()))


@dataclass(frozen=True, kw_only=True, eq=False)
class Spot:
    """One Philox block of one row, recomputed from the definition.

    Attributes:
        row: the row, counted from the first row of the samples.
        places: the channel-pixels that the block's words belong to.
        integers: X + J at each place; meaningless where `decided` is False.
        decided: whether each word determines a J.
        what: the sample and sigma, in words.
    """

    row: int
    places: list[int]
    integers: npt.NDArray[np.int64]
    decided: npt.NDArray[np.bool_]
    what: str

    def examine(self, came: npt.NDArray[np.generic], expected: npt.ArrayLike | None = None) -> None:
        """Passes if the values that `came` equal `expected`, by default the integers.

        Raises:
            NoiseMismatch: they differ. Nothing counted from this batch may be used.
        """
        wanted = self.integers if expected is None else np.asarray(expected)
        if (self.decided & (came != wanted)).any():
            raise NoiseMismatch(
                f"{self.what} does not have the defined noise; "
                "this machine computes wrongly and cannot certify"
            )


def find_spots(
    image: npt.NDArray[np.uint8],
    key: NoiseKey,
    table: NoiseTable,
    *,
    start: int,
    rows: int,
    turn: int,
) -> Iterator[Spot]:
    """A few blocks of the `rows` samples from `start` on. See `spot_check` for the arguments."""
    flat = image.reshape(-1)
    for row, block in _spots(turn, rows, -(-flat.size // 4)):
        places = list(range(4 * block, min(4 * block + 4, flat.size)))
        words = _block_words(key, start + row, block)[: len(places)]
        decided, j = _find_j(table, words)
        yield Spot(
            row=row,
            places=places,
            integers=flat[places] + j,
            decided=decided,
            what=f"sample {start + row} at sigma {table.sigma}",
        )


def _find_j(
    table: NoiseTable, words: npt.NDArray[np.uint64]
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
    """Whether each word determines a J, and that J; it is meaningless where none is determined."""
    below = np.searchsorted(table.thresholds, words, side="left")
    not_above = np.searchsorted(table.thresholds, words, side="right")
    decided = (below == not_above) & (below > 0) & (below < len(table.thresholds))
    return decided, below + table.first_index


def _spots(turn: int, rows: int, blocks: int) -> Iterator[tuple[int, int]]:
    """Rows and Philox blocks, spread evenly over turns by the R2 sequence (Roberts 2018)."""
    for i in range(_SPOTS * turn + 1, _SPOTS * (turn + 1) + 1):
        yield (i * _R2[0] % 2**64 * rows >> 64), (i * _R2[1] % 2**64 * blocks >> 64)


def _block_words(key: NoiseKey, sample: int, block: int) -> npt.NDArray[np.uint64]:
    """Words 4 block .. 4 block + 3 of one sample, as `sample_words` gives them."""
    counter = np.array([block, sample, 0, 0], dtype=np.uint64)
    philox = np.random.Philox(key=np.array(key, dtype=np.uint64), counter=counter)
    return np.asarray(philox.random_raw(4), dtype=np.uint64)
