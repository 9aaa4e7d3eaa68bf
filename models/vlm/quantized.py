"""An image tower in int8, as `promptsmooth models quantize` writes it."""

from pathlib import Path
from typing import Any, final

import torch

from models.vlm._imports import get_openvino
from models.vlm.put_aside import WeightsAside


@final
class QuantizedNetwork:
    """A network of OpenVINO from grey levels, float32, to features, in two files' contents.

    Its weights wait in a file, as those of torch do: OpenVINO packs its own copy.

    Args:
        network, weights: the contents of `image_tower.xml` and `image_tower.bin`.
        aside: as in `WeightsAside`.

    Raises:
        OSError: as `WeightsAside`.
    """

    def __init__(self, network: bytes, weights: bytes, aside: Path | None) -> None:
        self._network = network
        values = torch.frombuffer(bytearray(weights), dtype=torch.uint8)
        self._leaf = torch.nn.Parameter(values, requires_grad=False)
        self._aside = WeightsAside(torch.nn.ParameterList([self._leaf]), aside)

    def read(self) -> Any:
        """The network, whose constants lie in the file. Raises OpenVINO's errors."""
        openvino = get_openvino()
        weights = openvino.Tensor(self._leaf.numpy(), shared_memory=True)
        return openvino.Core().read_model(self._network, weights)

    def leave_memory(self) -> None:
        """See `WeightsAside.leave_memory`."""
        self._aside.leave_memory()
