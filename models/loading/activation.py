"""Swaps a model's activation, to see what it would compute; tensors do not show which is right."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from models.catalogue.cards import Activation
from models.vlm._imports import get_open_clip

OTHER: dict[Activation, Activation] = {"gelu": "quick_gelu", "quick_gelu": "gelu"}


@contextmanager
def swapped_activation(module: torch.nn.Module, declared: Activation) -> Iterator[None]:
    """Replaces every activation of `module` by the other kind while the block runs.

    Raises:
        ValueError: the module has no activation of the declared kind.
    """
    kinds = {"gelu": torch.nn.GELU, "quick_gelu": get_open_clip().transformer.QuickGELU}
    places = [
        (parent, name, child)
        for parent in module.modules()
        for name, child in parent.named_children()
        if type(child) is kinds[declared]
    ]
    if not places:
        raise ValueError(f"The model has no activation {declared}.")
    for parent, name, _ in places:
        setattr(parent, name, kinds[OTHER[declared]]())
    try:
        yield
    finally:
        for parent, name, child in places:
            setattr(parent, name, child)
