"""BERT's tokenizer, built from the bytes of `vocab.txt` and `tokenizer_config.json`."""

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

from models.catalogue.weights import ConfigMismatch, UnreadableWeights, parse_object
from models.files.untrusted_text import quote

VOCAB, TOKENIZER_CONFIG = "vocab.txt", "tokenizer_config.json"
_PAD, _UNKNOWN, _START, _END = "[PAD]", "[UNK]", "[CLS]", "[SEP]"
_LONGEST_WORD = 100  # BERT's own limit in characters; a longer word becomes [UNK]


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """Token ids of C texts, int64 (C, length), and their int64 mask: 0 for padding, else 1."""

    ids: Tensor
    mask: Tensor


@final
class WordPieceTokenizer:
    """Turns texts into `[CLS] words … [SEP]` with padding up to the context length.

    The marks are added around a text and never read from it: a class name that contains `[SEP]` is
    just words in brackets.
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
        """Returns the token ids of a text, without start and end."""
        ids: list[int] = self._tokenizer.encode(self.clean(text), add_special_tokens=False).ids
        return ids

    def __call__(self, texts: Sequence[str], *, n_ctx: int = 0) -> Tokens:
        """Returns the token ids of C texts, padded; there must be room for `n_ctx` more vectors.

        Raises:
            ValueError: a text is longer than the context; texts are never truncated.
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
    """Returns the tokenizer that a model folder's files describe.

    Args:
        contents: the files' contents by name, with `vocab.txt` and `tokenizer_config.json`.
        vocab_size: the number of embeddings, which must be the number of lines.

    Raises:
        ConfigMismatch: the number of tokens differs, or a mark is missing.
        UnreadableWeights: a file is missing or does not have the expected form.
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
    """Returns the object in a `tokenizer_config.json`.

    Raises:
        ConfigMismatch: the configuration is for another kind of tokenizer.
        UnreadableWeights: the content is not a JSON object.
    """
    config = parse_object(TOKENIZER_CONFIG, content)
    kind = str(config.get("tokenizer_class", "BertTokenizer"))
    if kind not in ("BertTokenizer", "BertTokenizerFast"):
        raise ConfigMismatch("tokenizer_class", expected="BertTokenizer", found=kind)
    return config


def _create_normaliser(config: Mapping[str, Any]) -> BertNormalizer:
    """Creates BERT's clean-up of a text before it is split; missing keys have BERT's defaults."""
    return BertNormalizer(
        clean_text=True,
        handle_chinese_chars=config.get("tokenize_chinese_chars", True),
        strip_accents=config.get("strip_accents"),
        lowercase=config.get("do_lower_case", True),
    )


def _parse_vocab(content: bytes) -> dict[str, int]:
    """Maps each token to its id, which is the number of its line."""
    try:
        lines = io.TextIOWrapper(io.BytesIO(content), encoding="utf-8").readlines()
    except UnicodeDecodeError as error:
        raise UnreadableWeights(VOCAB, f"it is not UTF-8: {error}") from error
    return {line.rstrip("\n"): at for at, line in enumerate(lines)}


def _get(contents: Mapping[str, bytes], name: str) -> bytes:
    if name not in contents:
        raise UnreadableWeights(name, "the card does not name it, but a BERT needs it")
    return contents[name]
