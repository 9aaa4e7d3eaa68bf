"""Noise made on the device by the Triton kernel, straight into the image tower's input.

Needs triton. Import it only where there is a GPU, or with TRITON_INTERPRET=1 set before: there
the same code runs on a CPU, for tests.
"""

import logging
from collections.abc import Callable, Sequence
from typing import final
from weakref import finalize

import numpy as np
import torch
from torch import Tensor

from models.vlm.vlm import VLM, NormalisedTower
from worker.contract.image import Image
from worker.engine.runner.batch import Batch, Slice, Witness
from worker.engine.runner.selftest import NoiseMismatch, Spot, find_spots
from worker.sampling.table import create_noise_table
from worker.sampling.triton_kernel import as_streams, sample_noisy_batch, sample_noisy_integers
from worker.sampling.words import NoiseKey

log = logging.getLogger(__name__)

_KEY = NoiseKey(0x6465766963, 0)  # no secret: nothing is certified with this noise


@final
class DeviceRunner:
    """A `Runner` that never waits for the device.

    A tower that can be given normalised pixels gets them from one kernel; another one gets
    integers. The same f either way, which is seen once before anything is counted.

    Raises:
        NoiseMismatch: the floats of the kernel are not those of the normalisation layer here.
    """

    def __init__(self, vlm: VLM, rows: int) -> None:
        self._vlm = vlm
        self._tower = vlm if isinstance(vlm, NormalisedTower) else None
        size, device = vlm.card.preprocessing.size, vlm.device
        dtype = torch.int16 if self._tower is None else self._tower.image_dtype
        self._inputs = torch.zeros((rows, 3, size, size), dtype=dtype, device=device)
        self._images: dict[int, Tensor] = {}  # by identity, as long as there is the image
        self._require_same_floats()
        encode = vlm.encode_images if self._tower is None else self._tower.encode_normalised
        self._encode = create_replay(encode, self._inputs)

    def run(self, slices: Sequence[Slice], *, turn: int) -> Batch:
        """See `Runner`."""
        undecided = torch.zeros(len(self._inputs), dtype=torch.int32, device=self._vlm.device)
        streams = as_streams([(part.key, part.samples.start) for part in slices], self._vlm.device)
        for part, stream in zip(slices, streams, strict=True):
            self._sample(part, stream, undecided[part.rows])
        witness = self._call_witness(slices[turn % len(slices)], turn)
        with torch.inference_mode():
            return Batch(self._encode(), undecided != 0, witness)

    def _sample(self, part: Slice, stream: Tensor, undecided: Tensor) -> None:
        image, out, start = (
            self._send_image(part.image),
            self._inputs[part.rows],
            part.samples.start,
        )
        if self._tower is None:
            sample_noisy_integers(
                image,
                part.key,
                part.table,
                start=start,
                out=out,
                stream=stream,
                undecided=undecided,
            )
            return
        preprocessing = self._vlm.card.preprocessing
        sample_noisy_batch(
            image,
            part.key,
            part.table,
            start=start,
            out=out,
            mean=preprocessing.mean,
            std=preprocessing.std,
            stream=stream,
            undecided=undecided,
        )

    def _send_image(self, image: Image) -> Tensor:
        """The image on the device, where it goes once."""
        found = self._images.get(id(image))
        if found is None:
            found = torch.from_numpy(np.ascontiguousarray(image)).to(self._vlm.device)
            self._images[id(image)] = found
            finalize(image, self._images.pop, id(image), None)
        return found

    def _call_witness(self, part: Slice, turn: int) -> Witness:
        """What f was given at a few places, beside what it should have been given."""
        spots = list(
            find_spots(
                part.image,
                part.key,
                part.table,
                start=part.samples.start,
                rows=part.samples.count,
                turn=turn,
            )
        )
        width = self._inputs[0].numel()
        at = [(part.offset + s.row) * width + place for s in spots for place in s.places]
        values = self._inputs.reshape(-1).index_select(0, _send(at, self._vlm.device))
        return Witness(values=values, examine=lambda came: self._examine(spots, came))

    def _examine(self, spots: Sequence[Spot], came: Tensor) -> None:
        for spot, values in zip(spots, came.split([len(s.places) for s in spots]), strict=True):
            expected = self._expect(spot)
            spot.examine(values.to(torch.float64).numpy(), expected.to(torch.float64).numpy())

    def _expect(self, spot: Spot) -> Tensor:
        """What the tower's input has to be at a spot: the normalisation layer, on the CPU."""
        integers = torch.from_numpy(spot.integers)
        if self._tower is None:
            return integers
        preprocessing = self._vlm.card.preprocessing
        channel = torch.tensor([place // preprocessing.size**2 for place in spot.places])
        mean, std = torch.tensor(preprocessing.mean), torch.tensor(preprocessing.std)
        floats = integers.to(torch.float32).div_(torch.tensor(255.0))
        return floats.sub_(mean[channel]).div_(std[channel]).to(self._tower.image_dtype)

    def _require_same_floats(self) -> None:
        if self._tower is None:
            return
        card, device = self._vlm.card, self._vlm.device
        size = card.preprocessing.size
        image = (torch.arange(3 * size * size) % 256).to(torch.uint8).reshape(3, size, size)
        floats = torch.empty((2, 3, size, size), dtype=self._tower.image_dtype, device=device)
        integers = torch.empty(floats.shape, dtype=torch.int16, device=device)
        sample_noisy_batch(
            image.to(device),
            _KEY,
            create_noise_table("1"),
            start=0,
            out=floats,
            mean=card.preprocessing.mean,
            std=card.preprocessing.std,
            integers=integers,
        )
        expected = self._tower.normalise(integers).to(self._tower.image_dtype)
        if not torch.equal(floats, expected):
            raise NoiseMismatch(
                f"the noise kernel and the model {card.id!r} normalise pixels differently on "
                f"{device}; set PROMPTSMOOTH_NOISE=host to make noise on the CPU"
            )


def _send(places: Sequence[int], device: torch.device) -> Tensor:
    index = torch.tensor(places)
    return index.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else index


def create_replay(encode: Callable[[Tensor], Tensor], inputs: Tensor) -> Callable[[], Tensor]:
    """`encode(inputs)` as a function of what is in `inputs`: as one CUDA graph where that pays.

    A graph is used only where its features are those of `encode`, bit for bit, for it has to be
    the same f that eta was measured on.
    """
    if inputs.device.type != "cuda":
        return lambda: encode(inputs)
    side = torch.cuda.Stream(inputs.device)
    side.wait_stream(torch.cuda.current_stream(inputs.device))
    with torch.inference_mode(), torch.cuda.stream(side):
        for _ in range(3):  # kernels are chosen and workspaces made outside the graph
            expected = encode(inputs).clone()
    torch.cuda.current_stream(inputs.device).wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with (
        torch.inference_mode(),
        torch.cuda.graph(graph, stream=side, capture_error_mode="thread_local"),
    ):
        features = encode(inputs)
    graph.replay()
    if not torch.equal(features, expected):
        log.warning("graph_not_used", extra={"fields": {"reason": "other features than without"}})
        return lambda: encode(inputs)

    def replay() -> Tensor:
        graph.replay()
        return features

    return replay
