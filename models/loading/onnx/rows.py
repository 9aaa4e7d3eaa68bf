"""Refuses networks that mix the images of a batch, as far as shapes show it.

A vote is about one image (CERTIFICATE 3: samples are independent). The network is read for batches
of two lengths. The axis of a value whose length follows the batch's holds the images, and no
operator may compute along it. What shapes do not show, such as images that change places, the
engine's self-test sees in the logits.
"""

import math
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from models.catalogue.weights import NetworkRefused
from models.files.untrusted_text import one_line, quote
from models.vlm._imports import get_openvino

_LENGTHS = (4, 6)  # both even, so that halves of a batch are read too
_FEW = 64  # axes or steps, or what they are computed from
_Shape = tuple[int, ...]

_AXIS_ATTRIBUTE = {
    "Softmax": "axis",
    "LogSoftmax": "axis",
    "TopK": "axis",
    "GatherElements": "axis",
    "ReverseSequence": "seq_axis",
}
_AXIS_INPUT = {
    "MVN": 1,
    "NormalizeL2": 1,
    "CumSum": 1,
    "Gather": 2,
    "Roll": 2,
    "ScatterUpdate": 3,
    "ScatterElementsUpdate": 3,
}
_IMAGES_FIRST = {  # they compute along every axis but the first
    "AdaptiveAvgPool",
    "AdaptiveMaxPool",
    "AvgPool",
    "BatchNormInference",
    "Convolution",
    "ConvolutionBackpropData",
    "DeformableConvolution",
    "DepthToSpace",
    "GRUSequence",
    "GridSample",
    "GroupConvolution",
    "GroupConvolutionBackpropData",
    "GroupNormalization",
    "Interpolate",
    "LRN",
    "LSTMSequence",
    "MaxPool",
    "RNNSequence",
    "ShuffleChannels",
    "SpaceToDepth",
}
_ANYWHERE = {"GatherND", "ScatterNDUpdate"}  # their places are computed
_GATHERING = {"Gather", *_ANYWHERE}


def check_rows(network: Any) -> None:
    """Passes if no operator of OpenVINO's `network` is seen to mix the images of a batch.

    The network has one input (batch, 3, S, S), and is left with another batch than it had.

    Raises:
        NetworkRefused: an operator does, or the network cannot be read for other batches.
    """
    image = network.inputs[0].get_partial_shape()
    sides = [side.get_length() for side in list(image)[1:]]
    try:
        network.reshape([_LENGTHS[0], *sides])  # may put operators in the place of others
        short = _list_shapes(network, [_LENGTHS[0], *sides])
        long = _list_shapes(network, [_LENGTHS[1], *sides])
    except RuntimeError as error:
        raise NetworkRefused(
            "it cannot be read for batches of other lengths; export it with an open batch, or for "
            f"one image ({one_line(error)[-120:]})"
        ) from error
    if len(short) != len(long):
        raise NetworkRefused("its operators depend on the length of the batch")
    seen: dict[tuple[str, int], int] = {}  # the axis of images in each value made from the image
    for node, before, after in zip(network.get_ordered_ops(), short, long, strict=True):
        _follow(node, before, after, seen)


def _list_shapes(network: Any, shape: list[int]) -> list[list[_Shape]]:
    network.reshape(shape)
    return [
        [tuple(one.get_partial_shape().to_shape()) for one in node.outputs()]
        for node in network.get_ordered_ops()
    ]


def _follow(
    node: Any, short: list[_Shape], long: list[_Shape], seen: dict[tuple[str, int], int]
) -> None:
    """Notes in which axis an operator's results hold the images, if it reads any."""
    kind = node.get_type_name()
    sources = [one.get_source_output() for one in node.inputs()]
    read = [seen.get((one.get_node().get_name(), one.get_index())) for one in sources]
    if kind == "ShapeOf" or (kind != "Parameter" and all(axis is None for axis in read)):
        return
    if read and read[0] is not None and _mixes(node, kind, read[0]):
        if kind in _GATHERING:
            reason = "it reads from all of them at once, and shapes do not show from which"
            raise _refuse(node, reason, "may mix")
        raise _refuse(node, "it computes along the axis that holds the images")
    for at, (before, after) in enumerate(zip(short, long, strict=True)):
        axes = [axis for axis, size in enumerate(before) if size != after[axis]]
        if len(axes) != 1 or before[axes[0]] * _LENGTHS[1] != after[axes[0]] * _LENGTHS[0]:
            raise _refuse(node, "its result does not keep the images apart")
        seen[node.get_name(), at] = axes[0]


def _mixes(node: Any, kind: str, images: int) -> bool:
    """Whether an operator computes along the axis of its first input that holds the images."""
    rank: int = len(node.input(0).get_partial_shape())
    if kind in _IMAGES_FIRST:
        return images != 0
    if kind == "ScaledDotProductAttention":
        return images >= rank - 2
    if kind in _ANYWHERE:
        return bool(node.get_attributes().get("batch_dims", 0) <= images)
    if kind in ("Slice", "StridedSlice"):
        return _turns_round(node, images, rank)
    axes = _find_axes(node, kind)
    return axes is None or images in {axis % rank for axis in axes}


def _turns_round(node: Any, images: int, rank: int) -> bool:
    """Whether a slice reads an axis from its end, or may; inputs 3 and 4 are steps and axes."""
    steps, axes = (_find_constant(node, place) for place in (3, 4))
    if steps is None or axes is None:
        return True
    pairs = zip(axes or range(len(steps)), steps, strict=False)
    return any(step < 0 and axis % rank == images for axis, step in pairs)


def _find_axes(node: Any, kind: str) -> Collection[int] | None:
    """The axes that an operator computes along, as far as it is known; None: it cannot be told."""
    if kind in _AXIS_ATTRIBUTE:
        attributes: Mapping[str, Any] = node.get_attributes()
        axis = attributes.get(_AXIS_ATTRIBUTE[kind])
        return None if axis is None else (int(axis),)
    return _find_constant(node, _AXIS_INPUT[kind]) if kind in _AXIS_INPUT else ()


def _find_constant(node: Any, place: int) -> list[int] | None:
    """The whole numbers of an input that no image reaches; none if the input is left out."""
    if place >= node.get_input_size():
        return []
    found = _evaluate(node.input_value(place))
    return None if found is None else [int(one) for one in found.reshape(-1)]


def _evaluate(output: Any) -> Any:
    """A few numbers that constants and shapes alone decide, as an array; None: others do."""
    node = output.get_node()
    kind, shape = node.get_type_name(), output.get_partial_shape()
    if kind == "ShapeOf":
        return np.asarray(node.input_value(0).get_partial_shape().to_shape(), dtype=np.int64)
    if kind == "Parameter" or shape.is_dynamic or math.prod(shape.to_shape()) > _FEW:
        return None
    if kind == "Constant":
        return np.array(node.data)
    read = [_evaluate(source) for source in node.input_values()]
    if any(one is None for one in read):
        return None
    tensor = get_openvino().Tensor
    written = [tensor(one.get_element_type(), one.get_shape()) for one in node.outputs()]
    known = [
        tensor(np.array(one, dtype=source.get_element_type().to_dtype(), order="C"))
        for one, source in zip(read, node.input_values(), strict=True)
    ]
    return np.array(written[output.get_index()].data) if node.evaluate(written, known) else None


def _refuse(node: Any, reason: str, does: str = "mixes") -> NetworkRefused:
    return NetworkRefused(
        f"its operator {quote(node.get_type_name())}, which gives "
        f"{quote(node.get_friendly_name())}, {does} the images of a batch: {reason}; a "
        "network that is exported for one image cannot"
    )
