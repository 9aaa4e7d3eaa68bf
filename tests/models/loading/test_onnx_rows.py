"""A network that mixes the images of a batch is no f: shapes show most of it, the row test more."""

from typing import Any

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper
from onnx_networks import (
    CARD,
    SIZE,
    create_network,
    create_nodes,
    create_weights,
    describe,
    write_network,
)

from models.catalogue.cards import parse_card
from models.catalogue.weights import NetworkRefused
from models.installation.folder import describe_file
from models.loading.apart import take_in_apart
from models.loading.loading import load_vlm
from models.loading.onnx.load import FILE
from models.loading.onnx.rows import check_rows
from models.vlm._imports import get_openvino
from models.vlm.compiled import CannotCompile
from worker.engine.shelf.fingerprint import create_probe_batch, probe
from worker.engine.shelf.runtime import TORCH, load_served

CPU = torch.device("cpu")
FLAT = create_nodes()[:4]
LAST = helper.make_node("Gemm", ["own", "matrix", "offset"], ["logits"], transB=1)


def constant(name: str, *values: int) -> Any:
    return helper.make_node("Constant", [], [name], value_ints=list(values))


def apply(
    kind: str, *constants: Any, reads: tuple[str, ...] = ("flat",), **attributes: Any
) -> list:
    """An operator over the pooled values, whose result the last layer reads."""
    names = [one.output[0] for one in constants]
    return [*constants, helper.make_node(kind, [*reads, *names], ["own"], **attributes)]


def less(kind: str, *constants: Any, **attributes: Any) -> list:
    """The pooled values less what an operator makes of them all."""
    nodes = apply(kind, *constants, **attributes)
    nodes[-1].output[0] = "all"
    return [
        *nodes,
        helper.make_node("Cast", ["all"], ["cast"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["flat", "cast"], ["own"]),
    ]


def turn(axis: int) -> list:
    """Softmax over an axis of the transposed values (8, batch)."""
    return [
        helper.make_node("Transpose", ["flat"], ["turned"], perm=[1, 0]),
        helper.make_node("Softmax", ["turned"], ["soft"], axis=axis),
        helper.make_node("Transpose", ["soft"], ["own"], perm=[1, 0]),
    ]


def normalise(**attributes: Any) -> list:
    norm = helper.make_node("MeanVarianceNormalization", ["seen"], ["lit"], **attributes)
    return [create_nodes()[0], norm, *create_nodes()[2:]]


QUANTIZE = [
    helper.make_node("DynamicQuantizeLinear", ["flat"], ["small", "scale", "zero"]),
    helper.make_node("DequantizeLinear", ["small", "scale", "zero"], ["own"]),
]
GRAM = [
    helper.make_node("Transpose", ["flat"], ["turned"], perm=[1, 0]),
    helper.make_node("MatMul", ["flat", "turned"], ["gram"]),
    helper.make_node("MatMul", ["gram", "flat"], ["own"]),
]
BACKWARDS = [constant("start", -1), constant("end", -1000), constant("axis", 0), constant("by", -1)]
MIXING = {
    "mean and variance": normalise(axes=[0, 2, 3]),
    "its default": normalise(),
    "ranges of the batch": [*FLAT, *QUANTIZE, LAST],
    "mean": [*FLAT, *less("ReduceMean", axes=[0], keepdims=1), LAST],
    "mean, counted from the end": [*FLAT, *less("ReduceMean", axes=[-2], keepdims=1), LAST],
    "maximum": [*FLAT, *less("ReduceMax", axes=[0], keepdims=1), LAST],
    "softmax": [*FLAT, *apply("Softmax", axis=0), LAST],
    "softmax, counted from the end": [*FLAT, *apply("Softmax", axis=-2), LAST],
    "logarithm of softmax": [*FLAT, *apply("LogSoftmax", axis=0), LAST],
    "norm": [*FLAT, *apply("LpNormalization", axis=0), LAST],
    "sums": [
        *FLAT,
        helper.make_node("Constant", [], ["place"], value_int=-2),
        helper.make_node("CumSum", ["flat", "place"], ["own"]),
        LAST,
    ],
    "largest row": [*FLAT, *less("ArgMax", axis=0), LAST],
    "largest values": [
        *FLAT,
        constant("one", 1),
        helper.make_node("TopK", ["flat", "one"], ["most", "where"], axis=0),
        helper.make_node("Sub", ["flat", "most"], ["own"]),
        LAST,
    ],
    "transposed": [*FLAT, *turn(1), LAST],
    "backwards": [*FLAT, *less("Slice", *BACKWARDS), LAST],
    "a row": [*FLAT, *less("Gather", constant("first", 0)), LAST],
    "products of rows": [*FLAT, *GRAM, LAST],
}
TURNED = [constant("start", -1), constant("end", -1000), constant("axis", 1), constant("by", -1)]
KEEPING = {
    "values from the end": [*FLAT, *apply("Slice", *TURNED), LAST],
    "plain": create_nodes(),
    "each image's own": normalise(axes=[2, 3]),
    "softmax": [*FLAT, *apply("Softmax", axis=-1), LAST],
    "transposed and back": [*FLAT, *turn(0), LAST],
    "a part of the values": [
        *FLAT,
        *apply("Slice", constant("s", 0), constant("e", 99), constant("a", 0), constant("b", 1)),
        LAST,
    ],
}


def read(nodes: list, batch: int | str = "batch") -> Any:
    content = create_network(nodes, batch=batch).SerializeToString()
    return get_openvino().Core().read_model(content)


@pytest.mark.parametrize("batch", ["batch", 5])
@pytest.mark.parametrize("what", MIXING)
def test_an_operator_over_the_batch_is_refused(what, batch):
    with pytest.raises(NetworkRefused, match=r"(mixes|may mix) the images of a batch"):
        check_rows(read(MIXING[what], batch))


# What torch writes for AdaptiveAvgPool2d over channels that come last, as in ConvNeXt: each image's
# own values, by their places in the memory of the whole batch.
STRIDED = [
    *FLAT,
    helper.make_node("Shape", ["image"], ["rows"], start=0, end=1),
    constant("whole", -1),
    constant("column", -1, 1),
    helper.make_node("Reshape", ["flat", "whole"], ["memory"]),
    *(helper.make_node("Constant", [], [f"int{n}"], value_int=n) for n in (0, 1, 8)),
    helper.make_node("Squeeze", ["rows"], ["count"]),
    helper.make_node("Range", ["int0", "count", "int1"], ["numbers"]),
    helper.make_node("Mul", ["numbers", "int8"], ["starts"]),
    helper.make_node("Reshape", ["starts", "column"], ["begun"]),
    constant("steps", *range(8)),
    helper.make_node("Add", ["begun", "steps"], ["places"]),
    helper.make_node("Gather", ["memory", "places"], ["own"], axis=0),
    LAST,
]


def test_a_network_that_gathers_from_the_whole_batch_is_taken_for_one_image_alone(tmp_path):
    said = "'Gather', .* may mix .* shapes do not show from which; .* for one image cannot"
    with pytest.raises(NetworkRefused, match=said):
        load_vlm(put(tmp_path, STRIDED), tmp_path, CPU)
    one = load_vlm(put(tmp_path, STRIDED, batch=1), tmp_path, CPU)
    plain = load_vlm(put(tmp_path, create_nodes(), batch=1), tmp_path, CPU)
    pixels = create_probe_batch(5, SIZE)
    assert torch.equal(one.encode_images(pixels), plain.encode_images(pixels))


@pytest.mark.parametrize("batch", ["batch", 5])
@pytest.mark.parametrize("what", KEEPING)
def test_an_operator_over_other_axes_is_taken(what, batch):
    check_rows(read(KEEPING[what], batch))


def put(folder, nodes: list, weights: dict | None = None, batch: int | str = "batch"):
    """A model that no `add` has seen, as an engine may find it."""
    network = create_network(nodes, weights=weights, batch=batch)
    (folder / FILE).write_bytes(network.SerializeToString())
    file = describe_file(folder / FILE)
    listed = f'[[files]]\nname = "{FILE}"\nsha256 = "{file.sha256}"\n'
    return parse_card(f"{CARD}\n{listed}size_bytes = {file.size_bytes}\n")


def test_a_network_of_a_fixed_batch_that_cannot_be_another_is_refused(tmp_path):
    cut = helper.make_node("Reshape", ["flat", "shape"], ["cut"])
    whole = helper.make_node("Flatten", ["cut"], ["own"])
    fixed = [*FLAT, constant("shape", 5, 2, 4), cut, whole, LAST]
    card = put(tmp_path, fixed, batch=5)
    with pytest.raises(NetworkRefused, match="batches of other lengths; export it with an open"):
        load_vlm(card, tmp_path, CPU)


CLASSES_ALONE = [
    helper.make_node("ArgMax", ["scores"], ["class"], axis=1, keepdims=0),
    helper.make_node(
        "Constant", [], ["depth"], value=helper.make_tensor("d", TensorProto.INT64, [], [3])
    ),
    helper.make_node(
        "Constant", [], ["ends"], value=helper.make_tensor("e", TensorProto.FLOAT, [2], [0, 20])
    ),
    helper.make_node("OneHot", ["class", "depth", "ends"], ["logits"], axis=-1),
]


def end_in_classes(nodes: list) -> list:
    last = helper.make_node("Gemm", list(nodes[-1].input), ["scores"], transB=1)
    return [*nodes[:-1], last, *CLASSES_ALONE]


def test_a_network_that_normalises_over_the_batch_and_gives_classes_is_refused(tmp_path):
    """Its features are the same bits beside most neighbours, and votes still depend on them."""
    card = put(tmp_path, end_in_classes(normalise(axes=[0, 2, 3])))
    with pytest.raises(NetworkRefused, match="'MVN', which gives 'lit', mixes the images"):
        load_served(card, tmp_path, CPU, TORCH)


def test_classes_in_place_of_logits_are_refused(tmp_path):
    card = put(tmp_path, end_in_classes(create_nodes()))
    with pytest.raises(NetworkRefused, match="gives classes, not logits; cut it before ArgMax"):
        load_served(card, tmp_path, CPU, TORCH)


def scale(factor: float) -> dict:
    weights = create_weights()
    for name in ("matrix", "offset"):
        weights[name] = (weights[name] * np.float32(factor)).astype(np.float32)
    return weights


# (8, batch) laid out anew as (batch, 8): images change places, which no shape shows.
EXCHANGED = [
    *FLAT,
    helper.make_node("Transpose", ["flat"], ["turned"], perm=[1, 0]),
    *apply("Reshape", constant("shape", -1, 8), reads=("turned",)),
    LAST,
]


@pytest.mark.parametrize("factor", [1, 1e6])
def test_rows_that_depend_on_neighbours_show_in_the_logits_where_features_saturate(
    tmp_path, factor
):
    card = put(tmp_path, EXCHANGED, scale(factor))
    with pytest.raises(CannotCompile, match="depend on its place, its neighbours"):
        load_served(card, tmp_path, CPU, TORCH)


def test_fingerprints_differ_where_features_saturate(tmp_path):
    found = []
    for factor in (1e6, 1.1e6):
        card = put(tmp_path, create_nodes(), scale(factor))
        vlm = load_vlm(card, tmp_path, CPU)
        features = vlm.encode_images(create_probe_batch(16, SIZE))
        found.append((features, probe(vlm, 16)))
    (here, first), (there, second) = found
    assert torch.equal(here, there)
    assert first.features.shape == (16, 3)
    assert None not in (first.fingerprint, second.fingerprint)
    assert first.fingerprint != second.fingerprint


def test_memory_of_reading_a_network_is_bounded(tmp_path):
    """Eight megabytes of empty operators take more than half a gigabyte as objects."""
    path = write_network(tmp_path)
    nodes = b"\x0a\x00" * 2**22
    length, size = b"", len(nodes)
    while size:
        length, size = length + bytes([size & 127 | (128 if size > 127 else 0)]), size >> 7
    path.write_bytes(b"\x3a" + length + nodes)
    with pytest.raises(NetworkRefused, match=r"memory|needs more than"):
        take_in_apart(describe(), path, tmp_path, memory_bytes=2**20)
