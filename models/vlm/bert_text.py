"""BERT as a text tower that takes context vectors."""

from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor

from models.vlm.wordpiece import WordPieceTokenizer


@final
class BertTextTower(torch.nn.Module):
    """A BERT, its tokenizer and a head that turns its hidden states into features.

    The tokens of a prompt are `[CLS] v₁ … v_M class name … [SEP] padding`. The vectors are inserted
    after [CLS], and the same amount of padding is dropped at the end. Vectors and words enter
    together as `inputs_embeds`, *before* BERT adds positions and types and normalises. So a vector
    that equals a word's embedding acts as that word. The attention mask marks everything that
    is not padding, including the vectors, and is computed from lengths, never from ids.
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
        """Returns the embeddings of a text's tokens, float32 (n, width), without start and end."""
        ids = torch.tensor(self.tokenizer.encode(text), dtype=torch.long)
        embeddings: Tensor = self._words(ids.to(self._words.weight.device))
        return embeddings

    def forward(self, ctx: Tensor, texts: Sequence[str]) -> Tensor:
        """Returns features (C, D), not normalised, for `ctx` (n_ctx, width); n_ctx may be 0.

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
