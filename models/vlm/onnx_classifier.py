"""An image classifier of a lab's own, an ONNX network, as the base of a compiled `VLM`.

The network gives logits, and a `VLM` gives features of unit length that are compared with those of
texts. The feature of an image is the square root of softmax(logits), which has unit length; the
feature of a class name is the axis of that class. The largest cosine similarity is then that of the
largest logit, so the class is the network's own.
"""

import math
from collections.abc import Sequence
from typing import Any, NoReturn, final

import numpy as np
import torch
from torch import Tensor

from models.catalogue.cards import ModelCard
from models.catalogue.weights import NetworkRefused
from models.files.untrusted_text import one_line, quote
from models.vlm._imports import get_openvino
from models.vlm.linear_toy import NoContext


@final
class OnnxClassifier(NoContext):
    """A checked network and its card, from which `CompiledVLM` makes the image path.

    Args:
        card: with the class names in the order of the logits.
        content: the network.
        batch: the batch that the network was exported for; None: any.

    Attributes:
        constants: how many numbers are in each of the network's constants of real numbers.

    Raises:
        NetworkRefused: OpenVINO cannot read the network, or it does not give one logit for each
            class of the card.
    """

    logit_scale = 1.0

    def __init__(self, *, card: ModelCard, content: bytes, batch: int | None) -> None:
        self.card = card
        self.device = torch.device("cpu")
        self.batch = batch
        self.content = torch.frombuffer(bytearray(content), dtype=torch.uint8)  # is counted
        self.embed_dim = len(card.class_names)
        self._parsed: Any = None  # between construction and `create_network`
        try:
            network = self.read(batch or 1)
            found = network.output(0).get_partial_shape()
        except RuntimeError as error:
            raise NetworkRefused(f"OpenVINO cannot read it: {one_line(error)[-200:]}") from error
        self._check_logits([side.to_string() for side in found])
        self.constants = [
            math.prod(node.get_output_shape(0))
            for node in network.get_ops()
            if node.get_type_name() == "Constant" and node.get_element_type().is_real()
        ]

    def _check_logits(self, found: Sequence[str]) -> None:
        wanted = [str(self.batch or 1), str(self.embed_dim)]
        if list(found) != wanted:
            raise NetworkRefused(
                f"expected one logit for each of the card's {self.embed_dim} classes, shape "
                f"({', '.join(wanted)}); found ({', '.join(found)})"
            )

    def read(self, rows: int) -> Any:
        """The network as OpenVINO reads it, for one batch shape. Its constants may be shared."""
        size = self.card.preprocessing.size
        if self._parsed is None:
            self._parsed = get_openvino().Core().read_model(self.content.numpy().tobytes())
        network = self._parsed.clone()
        network.reshape([rows, 3, size, size])
        return network

    def create_network(self, rows: int) -> Any:
        """The whole image path for batches of `rows`: int16 pixels in, features and logits out.

        Features hide a logit where softmax saturates. The logits show it.
        """
        ops = get_openvino().opset15
        prepared, network = self.card.preprocessing, self.read(rows)
        self._parsed = None  # its memory goes with the network's
        pixels = ops.parameter([rows, 3, prepared.size, prepared.size], np.int16)
        image = ops.divide(ops.convert(pixels, "f32"), np.float32(255))
        image = ops.subtract(image, _by_channel(prepared.mean))
        image = ops.divide(image, _by_channel(prepared.std))
        for reader in network.input(0).get_target_inputs():
            reader.replace_source_output(image.output(0))
        logits = network.get_results()[0].input_value(0)
        features = ops.sqrt(ops.softmax(logits, 1))
        return get_openvino().Model([ops.result(features), ops.result(logits)], [pixels])

    def encode_images(self, pixels: Tensor) -> NoReturn:
        """Raises TypeError: a network computes only where it is compiled."""
        raise TypeError(f"an ONNX network computes through CompiledVLM; {pixels.shape} came")

    def encode_levels(self, levels: Tensor) -> NoReturn:
        """Raises ValueError: OpenVINO gives no gradient; see `VLM.encode_levels`."""
        raise ValueError(
            f"The model {self.card.id} is an ONNX network, which gives no gradient for "
            f"{len(levels)} images."
        )

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """The axes of classes, float32 (C, D); texts are class names of the card.

        Raises:
            ValueError: a text is not one of the card's class names.
        """
        names = self.card.class_names
        if unknown := [text for text in texts if text not in names]:
            raise ValueError(
                f"The model {self.card.id} is an image classifier and knows the classes of its "
                f"card alone; {quote(unknown[0])} is none of them."
            )
        return torch.eye(len(names))[[names.index(text) for text in texts]]


def _by_channel(values: Sequence[float]) -> Any:
    return np.asarray(values, dtype=np.float32).reshape(1, 3, 1, 1)
