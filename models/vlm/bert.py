"""A model whose text tower is a BERT, as a `VLM`: MedCLIP, BiomedCLIP."""

from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor
from torch.nn import functional

from models.catalogue.cards import ModelCard
from models.files.untrusted_text import quote
from models.vlm.onednn import find_kernels, use_onednn
from models.vlm.vlm import PixelNormalisation
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


@final
class BertVLM:
    """Two frozen towers behind the pixel normalisation. Implements `VLM`.

    The image tower computes in `image_dtype`; the text tower, which runs once for each prompt, in
    float32; features leave in float32.
    """

    def __init__(
        self,
        *,
        card: ModelCard,
        image_tower: torch.nn.Module,
        text_tower: BertTextTower,
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

    @torch.no_grad()
    def encode_images(self, pixels: Tensor) -> Tensor:
        """See `VLM.encode_images`."""
        return self.encode_normalised(self.normalise(pixels).to(self.image_dtype))

    @torch.no_grad()
    def encode_normalised(self, inputs: Tensor) -> Tensor:
        """See `NormalisedTower.encode_normalised`."""
        features: Tensor = self.image_tower(inputs)
        return functional.normalize(features.to(torch.float32), dim=-1)  # (B, D)

    @torch.no_grad()
    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """See `VLM.encode_texts`."""
        no_ctx = torch.empty(0, self.text_width, device=self.device)
        return functional.normalize(self.text_tower(no_ctx, texts), dim=-1)  # (C, D)

    @torch.no_grad()
    def embed_text(self, text: str) -> Tensor:
        """See `VLM.embed_text`."""
        embeddings = self.text_tower.embed(text)  # (n, text_width)
        if not len(embeddings):
            raise ValueError(f"A text of at least one token is needed; {quote(text)} has none.")
        return embeddings

    def encode_prompts(self, ctx: Tensor, texts: Sequence[str]) -> Tensor:
        """See `VLM.encode_prompts`."""
        if ctx.ndim != 2 or ctx.shape[1] != self.text_width:
            raise ValueError(
                f"The model {self.card.id} takes context vectors of width {self.text_width}; "
                f"{tuple(ctx.shape)} came."
            )
        return functional.normalize(self.text_tower(ctx, texts), dim=-1)  # (C, D)
