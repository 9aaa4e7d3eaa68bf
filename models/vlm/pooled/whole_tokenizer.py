"""A tokenizer in one file, as the `tokenizers` library writes it."""

from collections.abc import Callable
from typing import Any

from models.catalogue.weights import UnreadableWeights
from models.files.untrusted_text import one_line, quote


def parse_whole(name: str, content: bytes) -> Any:
    """Returns the library's Tokenizer, which neither pads nor truncates.

    Raises:
        UnreadableWeights: the content of the file `name` is damaged.
    """
    from tokenizers import Tokenizer

    try:
        whole: Any = Tokenizer.from_str(content.decode())
    except Exception as error:  # the library raises Exception itself
        raise UnreadableWeights(name, one_line(error)[:200]) from error
    whole.no_padding()
    whole.no_truncation()
    return whole


def create_encode(whole: Any) -> Callable[[str], list[int]]:
    """Returns what turns a text into its token ids, without start and end.

    It raises ValueError for a text that contains a mark.
    """
    marks = {at for at, token in whole.get_added_tokens_decoder().items() if token.special}

    def encode(text: str) -> list[int]:
        ids: list[int] = whole.encode(text, add_special_tokens=False).ids
        if marks.intersection(ids):
            raise ValueError(
                f"A text must not contain start or end marks; {quote(text)} contains one."
            )
        return ids

    return encode
