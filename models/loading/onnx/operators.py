"""Which operators a network may hold: those that compute the same numbers of each row every time.

A certificate is about one function f of one image (CERTIFICATE 1). An operator that draws numbers,
keeps a state or behaves as in training makes f another function at every call.
"""

from collections.abc import Iterator, Mapping

from onnx import AttributeProto, ModelProto, NodeProto, defs

from models.catalogue.weights import NetworkRefused
from models.files.untrusted_text import quote
from models.loading.onnx.tensors import is_constant_false

STANDARD = ("", "ai.onnx")
"""ONNX's own domain, under both of its names."""

OLDEST_OPSET = 17
_RANDOM = "it draws random numbers, so the same image would have another answer each time"
_STATEFUL = "it carries a state from one call to the next"
_CONTROL = "it runs one part of the network or another, depending on what it computed"
_TRAINING = "it belongs to training"
_SHAPES = "the shape of its result depends on what it computed"
_NO_NUMBERS = "its values are not tensors of numbers"

_REFUSED: Mapping[str, str] = {
    name: reason
    for reason, names in {
        _RANDOM: "Bernoulli Multinomial RandomNormal RandomNormalLike RandomUniform "
        "RandomUniformLike",
        _STATEFUL: "CausalConvWithState LinearAttention TensorScatter",
        _CONTROL: "If Loop Scan SequenceMap",
        _TRAINING: "NegativeLogLikelihoodLoss SoftmaxCrossEntropyLoss",
        _SHAPES: "Compress NonMaxSuppression NonZero Unique",
        _NO_NUMBERS: "ConcatFromSequence ImageDecoder Optional OptionalGetElement "
        "OptionalHasElement RegexFullMatch SequenceAt SequenceConstruct SequenceEmpty "
        "SequenceErase SequenceInsert SequenceLength SplitToSequence StringConcat "
        "StringNormalizer StringSplit TfIdfVectorizer",
    }.items()
    for name in names.split()
}
_GRAPHS = (AttributeProto.GRAPH, AttributeProto.GRAPHS)


def check_operators(model: ModelProto) -> None:
    """Passes if every operator is ONNX's own and computes the same of the same image.

    Raises:
        NetworkRefused: names the first operator that does not, and why.
    """
    _check_opset(model)
    if model.training_info:
        raise NetworkRefused("it holds a training graph beside the network")
    if model.functions:
        raise NetworkRefused(
            f"it defines operators of its own ({quote(model.functions[0].name)}); inline them when "
            "it is exported (onnx.inliner.inline_local_functions)"
        )
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    constants |= dict(_list_constants(model))
    for node in model.graph.node:
        if reason := _find_reason(node):
            raise NetworkRefused(f"it has the operator {quote(_name(node))}: {reason}")
        if node.op_type == "Dropout" and len(node.input) > 2 and node.input[2]:
            switch = constants.get(node.input[2])
            if switch is None or not is_constant_false(switch):
                raise NetworkRefused(
                    "its Dropout is, or can be, switched to training; export it in eval mode"
                )


def _check_opset(model: ModelProto) -> None:
    versions = [entry.version for entry in model.opset_import if entry.domain in STANDARD]
    newest = defs.onnx_opset_version()
    if len(versions) != 1 or not OLDEST_OPSET <= versions[0] <= newest:
        found = " and ".join(map(str, versions)) or "none"
        raise NetworkRefused(f"expected one opset from {OLDEST_OPSET} to {newest}, found {found}")


def _find_reason(node: NodeProto) -> str | None:
    """Why an operator may not be certified, or None."""
    if node.domain not in STANDARD or not defs.has(node.op_type):
        return "it is not one of ONNX's own"
    if any(attribute.type in _GRAPHS for attribute in node.attribute):
        return _CONTROL
    if node.op_type == "BatchNormalization" and _find_int(node, "training_mode"):
        return "it computes with the batch's own mean, as in training; export it in eval mode"
    return _REFUSED.get(node.op_type)


def _find_int(node: NodeProto, name: str) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == name), 0)


def _list_constants(model: ModelProto) -> Iterator[tuple[str, object]]:
    for node in model.graph.node:
        if node.op_type == "Constant" and node.output:
            for attribute in node.attribute:
                if attribute.name == "value":
                    yield node.output[0], attribute.t


def _name(node: NodeProto) -> str:
    return f"{node.domain}.{node.op_type}" if node.domain else node.op_type
