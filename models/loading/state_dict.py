"""Checks that tensors are those of an architecture."""

from collections.abc import Mapping

from torch import Tensor

from models.catalogue.weights import StateDictMismatch


def check_state_dict(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    """Passes if both have the same names, and the same shape and kind of number for each name.

    Floating-point tensors may differ in precision: float16 files load into float32. Tensors on the
    `meta` device are accepted.

    Raises:
        StateDictMismatch: they differ; it reports the first name in alphabetical order.
    """
    for leaf in sorted(expected.keys() | found.keys()):
        want, have = _describe(expected.get(leaf)), _describe(found.get(leaf))
        if want != have:
            raise StateDictMismatch(leaf, expected=want, found=have)


def _describe(tensor: Tensor | None) -> str:
    if tensor is None:
        return "no such tensor"
    kind = "floating point" if tensor.is_floating_point() else str(tensor.dtype)
    return f"{kind} of shape {tuple(tensor.shape)}"
