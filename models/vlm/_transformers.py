"""Imports transformers, even if torchvision was built for another torch."""

import importlib
from types import ModuleType

from models.vlm._imports import get_open_clip


def get_transformers() -> ModuleType:
    """Returns the `transformers` package, imported on first use.

    transformers imports torchvision if it is installed, so `get_open_clip` runs first. Only module
    classes are used from it, never `from_pretrained`, so it never looks anything up.
    """
    get_open_clip()
    return importlib.import_module("transformers")
