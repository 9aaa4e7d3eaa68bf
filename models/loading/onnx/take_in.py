"""Takes a lab's own network into a folder: whole, and checked as far as no compiler is needed."""

from pathlib import Path

from models.catalogue.cards import ModelDescription
from models.loading.onnx.graph import check_network, parse_network
from models.loading.onnx.tensors import MAX_BYTES, take_in_external

FILE = "classifier.onnx"


def take_in(description: ModelDescription, path: Path, folder: Path) -> tuple[Path, ...]:
    """Writes the network of a file into a folder; returns the files beside it that it needed.

    A network that is whole is kept byte for byte.

    Raises:
        NetworkRefused: it is not one that can be certified.
        OSError: a file cannot be read or written.
    """
    with path.open("rb") as stream:
        content = stream.read(MAX_BYTES + 1)  # `parse_network` refuses one more
    model = parse_network(content)
    beside = take_in_external(model, path.parent)
    check_network(model, description)
    if beside:
        content = model.SerializeToString(deterministic=True)
    (folder / FILE).write_bytes(content)
    return beside
