"""Reads an image tower in int8, and takes it only if it is the kind that `quantize` writes."""

from pathlib import Path
from typing import Any

from models.catalogue.cards import QUANTIZED_NETWORK, QUANTIZED_WEIGHTS, ModelCard
from models.catalogue.weights import NetworkRefused, UnreadableWeights, load_file
from models.files.untrusted_text import one_line, quote
from models.loading.onnx.rows import check_rows
from models.vlm.compiled import CannotCompile
from models.vlm.quantized import QuantizedNetwork

# Arithmetic alone: nothing that draws numbers, keeps a state, branches or is another's.
_NAMES = (
    "Abs Add AvgPool BatchNormInference Broadcast Ceiling Clamp Concat Constant Convert "
    "ConvertLike Convolution Cos Divide Elu Equal Erf Exp FakeQuantize Floor FloorMod Gather "
    "Gelu Greater GreaterEqual GroupConvolution GroupNormalization HSwish HardSigmoid Less "
    "LessEqual Log LogicalAnd LogicalNot LogicalOr MVN MatMul MaxPool Maximum Minimum Mod "
    "Multiply Negative NormalizeL2 NotEqual PRelu Pad Parameter Power Range ReduceL2 "
    "ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum Relu Reshape Result Roll Round "
    "ScaledDotProductAttention Select ShapeOf Sigmoid Sign Sin Slice Softmax Split Sqrt "
    "SquaredDifference Squeeze StridedSlice Subtract Swish Tanh Tile Transpose Unsqueeze "
    "VariadicSplit"
)
_OPERATORS = frozenset(_NAMES.split())


def load_quantized(
    card: ModelCard, folder: Path, aside: Path | None, *, embed_dim: int
) -> QuantizedNetwork:
    """The image tower in int8 of a card, checked.

    Args:
        aside: as in `QuantizedNetwork`.
        embed_dim: the length of the features of its texts.

    Raises:
        CannotCompile: its weights cannot be put aside, or OpenVINO is missing.
        WeightsError: a file is missing or is not the one the card names, or the network is none
            that `promptsmooth models quantize` writes.
    """
    files = {file.name: file for file in card.files}
    for name in (QUANTIZED_NETWORK, QUANTIZED_WEIGHTS):
        if name not in files:
            raise UnreadableWeights(name, "the card does not name it")
    network = load_file(files[QUANTIZED_NETWORK], folder)
    weights = load_file(files[QUANTIZED_WEIGHTS], folder)
    try:
        found = QuantizedNetwork(network, weights, aside)
        check_quantized(found.read(), card.preprocessing.size, embed_dim)
    except OSError as error:
        raise CannotCompile(
            f"the weights in int8 cannot be put aside ({error.strerror})"
        ) from error
    except ImportError as error:
        raise CannotCompile(f"OpenVINO cannot be imported here ({error})") from error
    except RuntimeError as error:
        raise UnreadableWeights(QUANTIZED_NETWORK, one_line(error)[-200:]) from error
    return found


def check_quantized(network: Any, size: int, embed_dim: int) -> None:
    """Passes if OpenVINO's `network` turns pixels into features by arithmetic, row by row.

    The network is left with another batch than it had.

    Raises:
        NetworkRefused: says the first thing that is not as it must be.
    """
    for node in network.get_ops():
        if node.get_type_name() not in _OPERATORS:
            raise NetworkRefused(f"it has the operator {quote(node.get_type_name())}")
    _check_end("input", network.inputs, [3, size, size])
    _check_end("output", network.outputs, [embed_dim])
    check_rows(network)


def _check_end(end: str, found: Any, sides: list[int]) -> None:
    """Passes for one float32 value of shape (batch, *sides)."""
    wanted = f"one {end} of float32 numbers, (batch, {', '.join(map(str, sides))})"
    shapes = [f"{one.get_element_type()} {one.get_partial_shape()}" for one in found]
    if len(found) == 1 and found[0].get_element_type().get_type_name() == "f32":
        shape = found[0].get_partial_shape()
        known = shape.rank.is_static and [side.to_string() for side in shape][1:]
        if known == [str(side) for side in sides]:
            return
    raise NetworkRefused(f"expected {wanted}; found {quote(', '.join(shapes) or 'none')}")
