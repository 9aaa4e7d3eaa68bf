"""The form of a lab's own image classifier: one ONNX network, with data files beside it or not."""

from pathlib import Path

from models.forms.form import Converted, Form, FormRefused, PublishedFiles
from models.loading.apart import take_in_apart


def recognises(source: PublishedFiles) -> bool:
    """Recognises a file by its name; what is in it, `convert` tells."""
    return source.path.is_file() and source.path.suffix == ".onnx"


def convert(source: PublishedFiles, folder: Path) -> Converted:
    """See `Form.convert`. A process of its own, with bounds on memory and time, reads the file."""
    if source.config is not None:
        raise FormRefused("An ONNX network has no configuration; leave out --config.")
    beside = take_in_apart(source.description, source.path, folder)
    return Converted(read=(source.path, *beside))


FORM = Form(
    name="onnx",
    looks_like="an ONNX network (.onnx)",
    architectures=("onnx",),
    recognises=recognises,
    convert=convert,
    hub_files=(),
    hub_weights=(),
)
