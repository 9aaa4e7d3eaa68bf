"""What every text tower offers to `BertVLM`: embeddings of words, and features of prompts."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor


class _Tokenizer(Protocol):
    def encode(self, text: str, /) -> list[int]: ...


class TextTower(torch.nn.Module, ABC):
    """A text tower with its tokenizer, into which context vectors enter as embeddings of words."""

    tokenizer: _Tokenizer

    @property
    @abstractmethod
    def words(self) -> Any:
        """The module that has the embeddings of tokens as its weight."""

    @property
    def width(self) -> int:
        """The width of an embedding."""
        return int(self.words.weight.shape[1])

    def embed(self, text: str) -> Tensor:
        """Returns the embeddings of a text's tokens, float32 (n, width), without start and end."""
        ids = torch.tensor(self.tokenizer.encode(text), dtype=torch.long)
        embeddings: Tensor = self.words(ids.to(self.words.weight.device))
        return embeddings

    @abstractmethod
    def tokenize(self, texts: Sequence[str], *, n_ctx: int = 0) -> Tensor:
        """Returns all that `forward` reads of C texts after `n_ctx` vectors, int64 (C, length).

        Raises:
            ValueError: a prompt is longer than the context.
        """

    @abstractmethod
    def forward(self, ctx: Tensor, texts: Sequence[str]) -> Tensor:
        """Returns features (C, D), not normalised, for `ctx` (n_ctx, width); n_ctx may be 0.

        Raises:
            ValueError: a prompt is longer than the context.
        """
