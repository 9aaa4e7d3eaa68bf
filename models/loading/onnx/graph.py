"""A network as a classifier: one image in, one row of logits out, and nothing that varies."""

from google.protobuf.message import DecodeError
from onnx import GraphProto, ModelProto, TensorProto, ValueInfoProto, load_model_from_string

from models.catalogue.cards import ModelDescription
from models.catalogue.weights import NetworkRefused
from models.files.untrusted_text import quote
from models.loading.onnx.operators import check_operators
from models.loading.onnx.tensors import MAX_BYTES, check_tensors

_MOST_NODES = 100_000


def parse_network(content: bytes) -> ModelProto:
    """Returns the network in a file's content, unchecked.

    Raises:
        NetworkRefused: the content is not ONNX, or is too long.
    """
    if len(content) > MAX_BYTES:
        raise NetworkRefused("it is longer than 2 GB")
    try:
        model = load_model_from_string(content)
    except (DecodeError, ValueError) as error:
        raise NetworkRefused("it is damaged or truncated, or is not ONNX") from error
    if not model.graph.node:
        raise NetworkRefused("it is damaged or truncated, or is not ONNX: it has no operators")
    return model


def check_network(model: ModelProto, description: ModelDescription) -> None:
    """Passes if a network is a classifier that a certificate can be about.

    Checked are its operators, its constants, the order of its nodes, and its image input. What
    shape comes out, the compiled network tells.

    Raises:
        NetworkRefused: says the first thing that is not as it must be.
    """
    if len(model.graph.node) > _MOST_NODES:
        raise NetworkRefused(f"it has more than {_MOST_NODES} operators")
    check_operators(model)
    check_tensors(model)
    _check_order(model.graph)
    _check_image(get_image_input(model), description.preprocessing.size)
    if len(model.graph.output) != 1:
        raise NetworkRefused(f"expected one output, the logits; found {len(model.graph.output)}")


def get_image_input(model: ModelProto) -> ValueInfoProto:
    """The one input of a network that is not a constant.

    Raises:
        NetworkRefused: it has none, or several.
    """
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs: list[ValueInfoProto] = [
        entry for entry in model.graph.input if entry.name not in constants
    ]
    if len(inputs) != 1:
        raise NetworkRefused(f"expected one input, the image; found {len(inputs)}")
    return inputs[0]


def find_sides(image: ValueInfoProto) -> tuple[int | None, ...]:
    """The sides of an image input, None where they are left open."""
    shape = image.type.tensor_type.shape
    return tuple(side.dim_value if side.HasField("dim_value") else None for side in shape.dim)


def _check_image(image: ValueInfoProto, size: int) -> None:
    if image.type.tensor_type.elem_type != TensorProto.FLOAT:
        raise NetworkRefused("expected an image of float32 numbers as its input")
    sides = find_sides(image)
    wanted = (None, 3, size, size)
    fits = len(sides) == 4 and all(
        found is None or want is None or found == want
        for found, want in zip(sides, wanted, strict=True)
    )
    if not fits or (sides[0] is not None and sides[0] < 1):
        shown = ", ".join("?" if side is None else str(side) for side in sides)
        raise NetworkRefused(
            f"expected an image input of shape (batch, 3, {size}, {size}), as the card says; "
            f"found ({shown})"
        )


def _check_order(graph: GraphProto) -> None:
    """Every value is given once and before it is read, so nothing turns in a circle."""
    known = {entry.name for entry in graph.input} | {tensor.name for tensor in graph.initializer}
    known.add("")  # an input that is left out
    for node in graph.node:
        if missing := [name for name in node.input if name not in known]:
            raise NetworkRefused(
                f"an operator ({quote(node.op_type)}) reads {quote(missing[0])}, which nothing "
                "before it gives"
            )
        given = [name for name in node.output if name]
        if repeated := [name for name in given if name in known]:
            raise NetworkRefused(f"the value {quote(repeated[0])} is given twice")
        known.update(given)
    if missing := [entry.name for entry in graph.output if entry.name not in known]:
        raise NetworkRefused(f"its output {quote(missing[0])} is given by nothing")
