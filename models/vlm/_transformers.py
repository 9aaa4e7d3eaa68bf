"""One door to transformers, which also opens where torchvision was built for another torch."""

import importlib
from types import ModuleType

from models.vlm._imports import get_open_clip


def get_transformers() -> ModuleType:
    """The `transformers` package, imported on first use.

    It imports torchvision where it finds one, so open_clip's door comes first. Only classes of
    modules are used from here, never `from_pretrained`, so nothing is ever looked up.
    """
    get_open_clip()
    return importlib.import_module("transformers")
