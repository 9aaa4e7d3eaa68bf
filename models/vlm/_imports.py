"""The doors to open_clip and transformers, open beside a torchvision of another torch, too."""

import importlib
import sys
from types import ModuleType

import torch

_declared: list[torch.library.Library] = []  # a declaration lasts as long as its Library


def get_open_clip() -> ModuleType:
    """The `open_clip` package, imported on first use."""
    _import_torchvision()
    return importlib.import_module("open_clip")


def _import_torchvision() -> None:
    """Imports torchvision, declaring two operators first where it cannot find its own.

    torchvision's CUDA build beside torch's CPU build has no compiled operators, and its import
    ends at `operator torchvision::nms does not exist`. Nothing here uses them; their declaration
    is enough for the import.
    """
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if torch.version.cuda is not None or "torchvision::nms" not in str(error):
            raise
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "DEF")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _declared.append(library)
        importlib.import_module("torchvision")


def get_transformers() -> ModuleType:
    """The `transformers` package, imported on first use.

    It imports torchvision where it finds one, so open_clip's door comes first. Only classes of
    modules are used from here, never `from_pretrained`, so nothing is ever looked up.
    """
    get_open_clip()
    return importlib.import_module("transformers")
