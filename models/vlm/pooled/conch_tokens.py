"""CONCH's tokenizer: a byte-level BPE of lower-case text, from its authors' own file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from models.catalogue.weights import UnreadableWeights, require_equal
from models.files.untrusted_text import quote
from models.vlm.pooled.whole_tokenizer import create_encode, parse_whole

FILE = "conch_byte_level_bpe_uncased.json"
_MARKS = {"<pad>": 0, "<start_of_text>": 1, "<end_of_text>": 2}


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """Token ids of C texts, int64 (C, length), and how many of them are no padding, (C,)."""

    ids: Tensor
    used: Tensor


@final
class ConchTokenizer:
    """Turns texts into `<start> words … <end>` with padding to one less than the context length.

    The place that is left is that of the learned last token. Marks are never read from a text: a
    text that contains one is refused.
    """

    def __init__(self, whole: Any, *, context_length: int) -> None:
        self.context_length = context_length
        self.encode = create_encode(whole)

    def __call__(self, texts: Sequence[str], *, n_ctx: int = 0) -> Tokens:
        """Returns the token ids of C texts, padded to `context_length - 1 - n_ctx`.

        Raises:
            ValueError: a text is longer than the context; texts are never truncated.
        """
        room = self.context_length - 1 - n_ctx
        rows = [[1, *self.encode(text), 2] for text in texts]
        for text, row in zip(texts, rows, strict=True):
            if len(row) > room:
                raise ValueError(
                    f"A text has at most {self.context_length - 1} tokens; {quote(text)} has "
                    f"{n_ctx + len(row)}."
                )
        used = torch.tensor([len(row) for row in rows])
        padded = [row + [0] * (room - len(row)) for row in rows]
        return Tokens(ids=torch.tensor(padded), used=used)


def create_conch_tokenizer(
    contents: Mapping[str, bytes], *, vocab_size: int, context_length: int
) -> ConchTokenizer:
    """Returns the tokenizer that a model folder's file describes.

    Raises:
        ConfigMismatch: it has another number of tokens or other marks.
        UnreadableWeights: the file is missing or damaged.
    """
    if FILE not in contents:
        raise UnreadableWeights(FILE, "the card does not name it, but CONCH needs it")
    whole = parse_whole(FILE, contents[FILE])
    agreed: dict[str, tuple[object, object]] = {
        "the number of tokens": (vocab_size, whole.get_vocab_size())
    }
    agreed |= {f"the id of {mark}": (at, whole.token_to_id(mark)) for mark, at in _MARKS.items()}
    bare = whole.encode("a", add_special_tokens=False).ids
    marked = whole.encode("a", add_special_tokens=True).ids
    agreed["the ids of 'a' with its marks"] = ([1, *bare, 2], marked)
    require_equal({f"{FILE}: {what}": pair for what, pair in agreed.items()})
    return ConchTokenizer(whole, context_length=context_length)
