"""Imports large libraries on first use, with what each of them needs to be told before."""

import importlib
import sys
from types import ModuleType
from typing import Any

import torch

_declared: list[torch.library.Library] = []  # a declaration lasts only as long as its Library


def get_open_clip() -> ModuleType:
    """Returns the `open_clip` package, imported on first use."""
    _import_torchvision()
    return importlib.import_module("open_clip")


def _import_torchvision() -> None:
    """Imports torchvision and declares two operators first if it cannot find its own.

    torchvision's CUDA build next to torch's CPU build has no compiled operators, and its import
    fails with `operator torchvision::nms does not exist`. Nothing here uses these operators, and
    declaring them is enough for the import.
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
    """Returns the `transformers` package, imported on first use.

    transformers imports torchvision if it is installed, so `get_open_clip` runs first. Only module
    classes are used from it, never `from_pretrained`, so it never looks anything up.
    """
    get_open_clip()
    return importlib.import_module("transformers")


def create_vit(**shape: Any) -> torch.nn.Module:
    """Returns timm's VisionTransformer of this shape, without a head, with random weights.

    timm imports torchvision, so `get_open_clip` runs first.
    """
    get_open_clip()
    module = importlib.import_module("timm.models.vision_transformer")
    trunk: torch.nn.Module = module.VisionTransformer(num_classes=0, **shape)
    return trunk


def get_openvino() -> ModuleType:
    """Returns the `openvino` package, imported on first use, without its converter of files.

    The converter tells OpenVINO's makers that it was imported. The package allows that it is
    missing, and nothing here uses it.
    """
    sys.modules.setdefault("openvino.tools.ovc", None)  # type: ignore[arg-type]  # cannot be imported
    return importlib.import_module("openvino")
