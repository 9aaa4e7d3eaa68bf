"""The tokenizer of a published BERT, and tensors that follow from an architecture."""

import torch
from torch import Tensor

from models.weights import StateDictMismatch

# A BERT that is published with `vocab.txt` alone: transformers then lower-cases.
TOKENIZER_DEFAULT = b'{"do_lower_case": true, "tokenizer_class": "BertTokenizer"}\n'


def drop_derived(tensors: dict[str, Tensor], leaf: str, expected: Tensor) -> None:
    """Removes a tensor that follows from the architecture, where it is there.

    Raises:
        StateDictMismatch: it has other values, so this is another architecture.
    """
    found = tensors.pop(leaf, None)
    if found is None:
        return
    if found.numel() != expected.numel() or not torch.equal(found.flatten(), expected.flatten()):
        raise StateDictMismatch(
            leaf,
            expected=f"the {expected.numel()} numbers that follow from the architecture",
            found=f"others, {found.dtype} of shape {tuple(found.shape)}",
        )
