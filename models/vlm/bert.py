"""A `VLM` whose text tower is a BERT, such as MedCLIP and BiomedCLIP, or offers the same."""

from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor
from torch.nn import functional

from models.catalogue.cards import ModelCard
from models.files.untrusted_text import quote
from models.vlm.onednn import find_kernels, use_onednn
from models.vlm.text_tower import TextTower
from models.vlm.vlm import PixelNormalisation, TorchImagePath
from models.vlm.wordpiece import WordPieceTokenizer


@final
class BertTextTower(TextTower):
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
        self.tokenizer: WordPieceTokenizer = tokenizer

    @property
    def words(self) -> Any:
        """See `TextTower.words`."""
        return self.bert.embeddings.word_embeddings

    def tokenize(self, texts: Sequence[str], *, n_ctx: int = 0) -> Tensor:
        """See `TextTower.tokenize`."""
        return self.tokenizer(texts, n_ctx=n_ctx).ids

    def forward(self, ctx: Tensor, texts: Sequence[str]) -> Tensor:
        """Returns features (C, D), not normalised, for `ctx` (n_ctx, width); n_ctx may be 0.

        Raises:
            ValueError: a prompt is longer than the context.
        """
        tokens = self.tokenizer(texts, n_ctx=len(ctx))
        words = self.words(tokens.ids.to(ctx.device))  # (C, length, width)
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


@final
class BertVLM(TorchImagePath):
    """Two frozen towers behind the pixel normalisation. Implements `VLM`.

    The image tower computes in `image_dtype`. The text tower runs once for each prompt and computes
    in float32. Features are returned in float32.
    """

    def __init__(
        self,
        *,
        card: ModelCard,
        image_tower: torch.nn.Module,
        text_tower: TextTower,
        logit_scale: float,
        image_dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.card = card
        self.device = device
        self.image_dtype = image_dtype
        self.image_tower = image_tower.to(device, image_dtype).eval().requires_grad_(False)
        use_onednn(self.image_tower, device)
        self.kernels = find_kernels(self.image_tower)
        self.text_tower = text_tower.to(device, torch.float32).eval().requires_grad_(False)
        self.normalise = PixelNormalisation(card.preprocessing, device)
        self.logit_scale = logit_scale
        self.text_width = text_tower.width
        self.embed_dim = int(self.encode_texts([""]).shape[1])

    def _encode(self, inputs: Tensor) -> Tensor:
        features: Tensor = self.image_tower(inputs)
        return functional.normalize(features.to(torch.float32), dim=-1)  # (B, D)

    @torch.no_grad()
    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """See `VLM.encode_texts`."""
        no_ctx = torch.empty(0, self.text_width, device=self.device)
        return functional.normalize(self.text_tower(no_ctx, texts), dim=-1)  # (C, D)

    def tokenize(self, texts: Sequence[str], *, n_ctx: int = 0) -> Tensor:
        """See `VLM.tokenize`."""
        return self.text_tower.tokenize(texts, n_ctx=n_ctx)

    @torch.no_grad()
    def embed_text(self, text: str) -> Tensor:
        """See `VLM.embed_text`."""
        embeddings = self.text_tower.embed(text)  # (n, text_width)
        if not len(embeddings):
            raise ValueError(f"Expected a text with at least one token; {quote(text)} has none.")
        return embeddings

    def encode_prompts(self, ctx: Tensor, texts: Sequence[str]) -> Tensor:
        """See `VLM.encode_prompts`."""
        self.check_ctx(ctx)
        return functional.normalize(self.text_tower(ctx, texts), dim=-1)  # (C, D)
