"""BERT's tokenizer, made from the bytes of `vocab.txt` and of `tokenizer_config.json`."""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from torch import Tensor

from models.catalogue.weights import ConfigMismatch, UnreadableWeights
from models.files.untrusted_text import parse_json, quote

VOCAB, TOKENIZER_CONFIG = "vocab.txt", "tokenizer_config.json"
_PAD, _UNKNOWN, _START, _END = "[PAD]", "[UNK]", "[CLS]", "[SEP]"
_LONGEST_WORD = 100  # BERT's own limit, in characters; a longer one becomes [UNK]


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """C texts as token ids, int64 (C, length), and which of them are no padding, int64 0 or 1."""

    ids: Tensor
    mask: Tensor


@final
class WordPieceTokenizer:
    """Texts to `[CLS] words … [SEP]` and padding up to the context length.

    The marks are put around a text and never read out of it: a class name that contains `[SEP]`
    is words in brackets.
    """

    def __init__(
        self,
        *,
        vocab: Mapping[str, int],
        normaliser: BertNormalizer,
        context_length: int,
        clean: Callable[[str], str] = str,
    ) -> None:
        self.context_length = context_length
        self.clean = clean
        self._start, self._end, self._pad = vocab[_START], vocab[_END], vocab[_PAD]
        model = WordPiece(dict(vocab), unk_token=_UNKNOWN, max_input_chars_per_word=_LONGEST_WORD)
        self._tokenizer = Tokenizer(model)
        self._tokenizer.normalizer = normaliser
        self._tokenizer.pre_tokenizer = BertPreTokenizer()

    def encode(self, text: str) -> list[int]:
        """The token ids of a text, without start and end."""
        ids: list[int] = self._tokenizer.encode(self.clean(text), add_special_tokens=False).ids
        return ids

    def __call__(self, texts: Sequence[str], *, n_ctx: int = 0) -> Tokens:
        """The token ids of C texts, padded; `n_ctx` vectors must still fit between.

        Raises:
            ValueError: a text is longer than the context; nothing is ever cut off.
        """
        rows = []
        for text in texts:
            row = [self._start, *self.encode(text), self._end]
            if n_ctx + len(row) > self.context_length:
                raise ValueError(
                    f"A text has at most {self.context_length} tokens; {quote(text)} has "
                    f"{n_ctx + len(row)}."
                )
            rows.append(row)
        lengths = torch.tensor([len(row) for row in rows])
        mask = torch.arange(self.context_length) < lengths[:, None]  # (C, context_length)
        padded = [row + [self._pad] * (self.context_length - len(row)) for row in rows]
        return Tokens(ids=torch.tensor(padded), mask=mask.long())


def create_tokenizer(
    contents: Mapping[str, bytes],
    *,
    vocab_size: int,
    context_length: int,
    clean: Callable[[str], str] = str,
) -> WordPieceTokenizer:
    """The tokenizer that a model folder's files describe.

    Args:
        contents: `vocab.txt` and `tokenizer_config.json` among them.
        vocab_size: the number of embeddings, which is that of the lines.

    Raises:
        ConfigMismatch: another number of tokens, or a mark that is missing.
        UnreadableWeights: a file is not there or not of its form.
    """
    vocab = _parse_vocab(_get(contents, VOCAB))
    if len(vocab) != vocab_size:
        raise ConfigMismatch(
            f"tokens in {VOCAB}", expected=str(vocab_size), found=f"{len(vocab)} different ones"
        )
    for mark in (_PAD, _UNKNOWN, _START, _END):
        if mark not in vocab:
            raise ConfigMismatch(f"tokens in {VOCAB}", expected=mark, found="no such line")
    return WordPieceTokenizer(
        vocab=vocab,
        normaliser=_create_normaliser(parse_tokenizer_config(_get(contents, TOKENIZER_CONFIG))),
        context_length=context_length,
        clean=clean,
    )


def parse_tokenizer_config(content: bytes) -> dict[str, Any]:
    """The object that a `tokenizer_config.json` holds.

    Raises:
        ConfigMismatch: it is that of another kind of tokenizer.
        UnreadableWeights: no JSON, or no object.
    """
    try:
        config = parse_json(content)
    except ValueError as error:
        raise UnreadableWeights(TOKENIZER_CONFIG, str(error)) from error
    if not isinstance(config, dict):
        raise UnreadableWeights(TOKENIZER_CONFIG, f"an object was expected, {config!r:.40} came")
    kind = str(config.get("tokenizer_class", "BertTokenizer"))
    if kind not in ("BertTokenizer", "BertTokenizerFast"):
        raise ConfigMismatch("tokenizer_class", expected="BertTokenizer", found=kind)
    return config


def _create_normaliser(config: Mapping[str, Any]) -> BertNormalizer:
    """What BERT does to a text before it looks for words; what is not said is BERT's default."""
    return BertNormalizer(
        clean_text=True,
        handle_chinese_chars=config.get("tokenize_chinese_chars", True),
        strip_accents=config.get("strip_accents"),
        lowercase=config.get("do_lower_case", True),
    )


def _parse_vocab(content: bytes) -> dict[str, int]:
    """Token to id, the number of its line."""
    try:
        lines = io.TextIOWrapper(io.BytesIO(content), encoding="utf-8").readlines()
    except UnicodeDecodeError as error:
        raise UnreadableWeights(VOCAB, f"it is no UTF-8: {error}") from error
    return {line.rstrip("\n"): at for at, line in enumerate(lines)}


def _get(contents: Mapping[str, bytes], name: str) -> bytes:
    if name not in contents:
        raise UnreadableWeights(name, "the card does not name it, and a BERT cannot do without")
    return contents[name]
