"""BERT as a text tower that takes context vectors."""

from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor

from models.vlm.wordpiece import WordPieceTokenizer


@final
class BertTextTower(torch.nn.Module):
    """A BERT, its tokenizer, and a head that makes features of its hidden states.

    Tokens of a prompt are `[CLS] v₁ … v_M class name … [SEP] padding`: the vectors are put in after
    [CLS] and as much padding falls off the end. They and the words enter as `inputs_embeds`, once,
    *before* BERT adds positions and types and normalises, so a vector that equals a word's
    embedding is that word. The attention mask marks what is no padding, vectors included; it comes
    from the lengths, never from the ids.
    """

    def __init__(
        self, *, bert: torch.nn.Module, head: torch.nn.Module, tokenizer: WordPieceTokenizer
    ) -> None:
        super().__init__()
        self.bert: Any = bert  # transformers' BertModel
        self.head = head
        self.tokenizer = tokenizer

    @property
    def width(self) -> int:
        """The width of an embedding."""
        return int(self._words.weight.shape[1])

    @property
    def _words(self) -> Any:
        return self.bert.embeddings.word_embeddings

    def embed(self, text: str) -> Tensor:
        """The embeddings of a text's tokens, float32 (n, width), without start and end."""
        ids = torch.tensor(self.tokenizer.encode(text), dtype=torch.long)
        embeddings: Tensor = self._words(ids.to(self._words.weight.device))
        return embeddings

    def forward(self, ctx: Tensor, texts: Sequence[str]) -> Tensor:
        """Features (C, D), not normalised; `ctx` is (n_ctx, width), also with n_ctx = 0.

        Raises:
            ValueError: a prompt is longer than the context.
        """
        tokens = self.tokenizer(texts, n_ctx=len(ctx))
        words = self._words(tokens.ids.to(ctx.device))  # (C, length, width)
        mask = tokens.mask.to(ctx.device)  # (C, length)
        vectors = ctx.expand(len(texts), -1, -1)  # (C, n_ctx, width)
        ones = mask.new_ones(len(texts), len(ctx))  # (C, n_ctx)
        length = self.tokenizer.context_length
        mask = torch.cat([ones, mask], dim=1)[:, :length]  # [CLS] and vectors are all ones
        output = self.bert(
            inputs_embeds=torch.cat([words[:, :1], vectors, words[:, 1:]], dim=1)[:, :length],
            attention_mask=mask,
            output_hidden_states=True,
        )
        features: Tensor = self.head(output, mask)
        return features
