"""The tokens of SigLIP (`spiece.model`) and of SigLIP 2 (`tokenizer.json`), without a network."""

import re
import string
from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

import torch
from torch import Tensor

from models.catalogue.weights import UnreadableWeights, require_equal
from models.files.untrusted_text import quote
from models.vlm.pooled.whole_tokenizer import create_encode, parse_whole

PIECES, WHOLE = "spiece.model", "tokenizer.json"
_SPACE = "▁"  # SentencePiece's sign for a space
_UNKNOWN = "<unk>"
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


@final
class SiglipTokenizer:
    """Turns texts into `words … <end>` with padding up to the context length; there is no start.

    The end is added to a text and never read from it. `joint` is what a text has in front where
    other words precede it: a space, if the first word of a text is read without one.
    """

    def __init__(
        self,
        *,
        encode: Callable[[str], list[int]],
        end: int,
        pad: int,
        context_length: int,
        joint: str = "",
    ) -> None:
        self.encode = encode
        self.context_length = context_length
        self._joint = joint
        self._end, self._pad = end, pad

    def __call__(self, texts: Sequence[str], *, n_ctx: int = 0) -> Tensor:
        """Returns the token ids of C texts, int64 (C, context_length - n_ctx).

        Raises:
            ValueError: a text is longer than the context; texts are never truncated.
        """
        room = self.context_length - n_ctx
        joint = self._joint if n_ctx else ""
        rows = []
        for text in texts:
            row = [*self.encode(joint + text), self._end]
            if len(row) > room:
                raise ValueError(
                    f"A text has at most {self.context_length} tokens; {quote(text)} has "
                    f"{n_ctx + len(row)}."
                )
            rows.append(row + [self._pad] * (room - len(row)))
        return torch.tensor(rows)


def create_siglip_tokenizer(
    contents: Mapping[str, bytes], *, vocab_size: int, context_length: int
) -> SiglipTokenizer:
    """Returns the tokenizer that a model folder's files describe.

    Raises:
        ConfigMismatch: it has another number of tokens, or lacks a mark.
        UnreadableWeights: there is neither file, or one is damaged.
    """
    if PIECES in contents:
        return _create_from_pieces(contents[PIECES], vocab_size, context_length)
    if WHOLE in contents:
        return _create_from_whole(contents[WHOLE], vocab_size, context_length)
    raise UnreadableWeights(PIECES, f"the card names neither it nor {WHOLE}")


def canonicalise(text: str) -> str:
    """The text in lower case, without punctuation and with single spaces, as in training."""
    bare = text.lower().translate(_NO_PUNCTUATION)
    return re.sub(r"\s+", " ", bare).strip()


def _create_from_pieces(content: bytes, vocab_size: int, context_length: int) -> SiglipTokenizer:
    """SigLIP's own: SentencePiece, after `canonicalise`."""
    from sentencepiece import SentencePieceProcessor

    try:
        pieces: Any = SentencePieceProcessor(model_proto=content)
        found = pieces.get_piece_size()
    except RuntimeError as error:
        raise UnreadableWeights(PIECES, "it is damaged, or is no SentencePiece model") from error
    require_equal({f"{PIECES}: the number of tokens": (vocab_size, found)})
    end = pieces.piece_to_id("</s>")
    require_equal(
        {f"{PIECES}: the token </s>": ("one", "none" if end == pieces.unk_id() else "one")}
    )
    head = len(pieces.encode(_UNKNOWN))

    def encode(text: str) -> list[int]:
        # A model without a space in front of the first word would strip one that is written. So
        # something else goes before it, and is taken off again.
        spaced = canonicalise(_SPACE + text.replace(_SPACE, " "))
        ids: list[int] = pieces.encode(_UNKNOWN + spaced)
        return ids[head:]

    return SiglipTokenizer(encode=encode, end=end, pad=end, context_length=context_length)


def _create_from_whole(content: bytes, vocab_size: int, context_length: int) -> SiglipTokenizer:
    """SigLIP 2's own, which is Gemma's: of texts in lower case."""
    whole = parse_whole(WHOLE, content)
    end, pad = whole.token_to_id("<eos>"), whole.token_to_id("<pad>")
    for mark, found in (("<eos>", end), ("<pad>", pad)):
        require_equal({f"{WHOLE}: the token {mark}": ("one", "none" if found is None else "one")})
    if whole.get_vocab_size() > vocab_size:
        require_equal({f"{WHOLE}: the number of tokens": (vocab_size, whole.get_vocab_size())})
    bare = whole.encode("a", add_special_tokens=False).ids
    require_equal(
        {f"{WHOLE}: the marks": ("<eos> alone, at the end", _name_marks(whole, bare, end))}
    )
    encode = create_encode(whole)
    return SiglipTokenizer(
        encode=lambda text: encode(text.lower()),
        end=end,
        pad=pad,
        context_length=context_length,
        joint=" ",
    )


def _name_marks(whole: Any, bare: Sequence[int], end: int) -> str:
    marked = whole.encode("a", add_special_tokens=True).ids
    return "<eos> alone, at the end" if marked in ([*bare, end], list(bare)) else "others"
