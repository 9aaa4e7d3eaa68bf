"""Small ONNX classifiers: a sound one with its reference in torch, and pieces for hostile ones."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch.nn import functional

from models.catalogue.cards import ModelDescription, parse_description

SIZE = 16
CLASSES = ("no finding", "opacity", "nodule")
CARD = """
id = "my-net"
name = "Our chest X-ray net"
description = "A small convolutional network."
intended_use = "Tests."
licence = "Apache-2.0"
source = "this test"
architecture = "onnx"
class_names = ["no finding", "opacity", "nodule"]
batch_size = { cpu = 16 }

[preprocessing]
size = 16
mean = [0.5, 0.4, 0.3]
std = [0.2, 0.25, 0.3]
"""


def describe() -> ModelDescription:
    return parse_description(CARD)


def create_weights(seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    shapes = {"filter": (8, 3, 3, 3), "bias": (8,), "matrix": (3, 8), "offset": (3,)}
    return {name: random.normal(0, 0.5, shape).astype(np.float32) for name, shape in shapes.items()}


def compute_logits(weights: dict[str, np.ndarray], pixels: torch.Tensor) -> torch.Tensor:
    """What the network of `create_nodes` gives for int16 pixels, by torch."""
    mean = torch.tensor([0.5, 0.4, 0.3])[:, None, None]
    std = torch.tensor([0.2, 0.25, 0.3])[:, None, None]
    w = {name: torch.from_numpy(value) for name, value in weights.items()}
    image = (pixels.float() / 255 - mean) / std
    seen = functional.conv2d(image, w["filter"], w["bias"], stride=2, padding=1).relu()
    return functional.linear(seen.mean(dim=(2, 3)), w["matrix"], w["offset"])


def create_nodes() -> list[Any]:
    return [
        helper.make_node(
            "Conv", ["image", "filter", "bias"], ["seen"], strides=[2, 2], pads=[1, 1, 1, 1]
        ),
        helper.make_node("Relu", ["seen"], ["lit"]),
        helper.make_node("GlobalAveragePool", ["lit"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "matrix", "offset"], ["logits"], transB=1),
    ]


def create_network(
    nodes: Sequence[Any] | None = None,
    *,
    weights: dict[str, np.ndarray] | None = None,
    batch: int | str = "batch",
    image: Sequence[int | str] | None = None,
    image_type: int = TensorProto.FLOAT,
    inputs: Sequence[Any] = (),
    outputs: Sequence[str] = ("logits",),
    opset: int = 17,
    domains: Sequence[str] = (),
) -> onnx.ModelProto:
    """A network, whole unless an argument breaks it."""
    shape = [batch, 3, SIZE, SIZE] if image is None else image
    graph = helper.make_graph(
        create_nodes() if nodes is None else list(nodes),
        "net",
        [helper.make_tensor_value_info("image", image_type, shape), *inputs],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [
            numpy_helper.from_array(value, name)
            for name, value in (create_weights() if weights is None else weights).items()
        ],
    )
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def write_network(folder: Path, model: onnx.ModelProto | None = None) -> Path:
    path = folder / "net.onnx"
    path.write_bytes((model or create_network()).SerializeToString())
    return path
