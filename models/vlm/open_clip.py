"""A model with open_clip's architecture as a `VLM`."""

import math
from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor
from torch.nn import functional

from models.catalogue.cards import ModelCard
from models.catalogue.weights import ConfigMismatch
from models.files.untrusted_text import quote
from models.vlm.onednn import find_kernels, use_onednn
from models.vlm.vlm import PixelNormalisation, TorchImagePath


@final
class ClipTextTower:
    """The steps of open_clip's `encode_text`, with context vectors after the start token.

    The tokens of a prompt are `[SOS] class name … [EOS] padding`. The vectors are inserted after
    [SOS], and the same amount of padding is dropped at the end. So [EOS] and every position are
    where a text of that length has them (CoOp, Zhou et al., IJCV 2022; PromptSmooth uses the same
    layout).
    """

    def __init__(self, clip: Any) -> None:  # open_clip is untyped
        tower = getattr(clip, "text", clip)  # CustomTextCLIP keeps its text tower apart
        self.token_embedding = tower.token_embedding
        self.positional_embedding = tower.positional_embedding  # (context_length, width)
        self.transformer = tower.transformer
        self.ln_final = tower.ln_final
        self.text_projection = tower.text_projection
        self.attn_mask = tower.attn_mask
        pooling = getattr(tower, "text_pool_type", None) or getattr(tower, "pool_type", "argmax")
        if pooling != "argmax" or getattr(tower, "cls_emb", None) is not None:
            raise ConfigMismatch("text_cfg.pool_type", expected="argmax", found=str(pooling))

    @property
    def width(self) -> int:
        """The width of an embedding."""
        return int(self.token_embedding.weight.shape[1])

    def embed(self, tokens: Tensor) -> Tensor:
        """Returns the embeddings of token ids, float32 (*tokens.shape, width)."""
        embeddings: Tensor = self.token_embedding(tokens)
        return embeddings.to(torch.float32)

    def __call__(self, ctx: Tensor, tokens: Tensor) -> Tensor:
        """Returns unnormalised features (C, D); `ctx` is (n_ctx, width), `tokens` (C, length)."""
        words = self.embed(tokens)  # (C, length, width)
        vectors = ctx.expand(len(tokens), -1, -1)  # (C, n_ctx, width)
        x = torch.cat([words[:, :1], vectors, words[:, 1:]], dim=1)[:, : tokens.shape[1]]
        end = tokens.argmax(dim=-1) + len(ctx)  # (C,); [EOS] has the largest id
        x = x + self.positional_embedding  # (C, length, width)
        if self.attn_mask is None:
            x = self.transformer(x)
        else:  # causal: [EOS] sees nothing of the padding after it, which is most of the length
            used = int(end.max()) + 1
            x = self.transformer(x[:, :used], attn_mask=self.attn_mask[:used, :used])
        x = self.ln_final(x)
        pooled: Tensor = x[torch.arange(len(tokens), device=x.device), end]  # (C, width)
        return self._project(pooled)

    def _project(self, pooled: Tensor) -> Tensor:
        projection = self.text_projection
        if projection is None:
            return pooled
        features: Tensor = projection(pooled) if callable(projection) else pooled @ projection
        return features  # (C, D)


@final
class OpenClipVLM(TorchImagePath):
    """open_clip's `CLIP`, frozen, behind the pixel normalisation. Implements `VLM`.

    The image tower computes in `image_dtype`. The text tower runs once for each prompt and computes
    in float32. Features are returned in float32.
    """

    def __init__(
        self,
        *,
        card: ModelCard,
        clip: Any,  # open_clip is untyped
        tokenizer: Any,  # open_clip's SimpleTokenizer
        image_dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.card = card
        self.device = device
        self.image_dtype = image_dtype
        self.tokenizer = tokenizer
        self.clip = clip.to(device).eval().requires_grad_(False)
        use_onednn(self.clip.visual, device)
        self.kernels = find_kernels(self.clip.visual)
        self.normalise = PixelNormalisation(card.preprocessing, device)
        self.logit_scale = math.exp(self.clip.logit_scale.item())
        self.embed_dim = int(self.encode_texts([""]).shape[1])
        self.text_tower = ClipTextTower(self.clip)
        self.text_width = self.text_tower.width

    @property
    def image_tower(self) -> torch.nn.Module:
        """See `ToweredVLM.image_tower`."""
        tower: torch.nn.Module = self.clip.visual
        return tower

    def _encode(self, inputs: Tensor) -> Tensor:
        features: Tensor = self.clip.encode_image(inputs)
        return functional.normalize(features.to(torch.float32), dim=-1)  # (B, D)

    @torch.no_grad()
    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """See `VLM.encode_texts`.

        Raises:
            ValueError: a text is longer than the context; open_clip would silently truncate it.
        """
        features: Tensor = self.clip.encode_text(self.tokenize(texts).to(self.device))
        return functional.normalize(features, dim=-1)  # (C, D)

    def tokenize(self, texts: Sequence[str], *, n_ctx: int = 0) -> Tensor:
        """See `VLM.tokenize`. The padding that `n_ctx` vectors replace is in it."""
        for text in texts:
            self._check_text(text, n_ctx=n_ctx)
        tokens: Tensor = self.tokenizer(list(texts))  # (C, context_length)
        return tokens

    @torch.no_grad()
    def embed_text(self, text: str) -> Tensor:
        """See `VLM.embed_text`."""
        tokens = self.tokenizer.encode(text)
        if not tokens:
            raise ValueError(f"Expected a text with at least one token; {quote(text)} has none.")
        return self.text_tower.embed(torch.tensor(tokens, device=self.device))  # (n, text_width)

    def encode_prompts(self, ctx: Tensor, texts: Sequence[str]) -> Tensor:
        """See `VLM.encode_prompts`."""
        self.check_ctx(ctx)
        features = self.text_tower(ctx, self.tokenize(texts, n_ctx=len(ctx)).to(self.device))
        return functional.normalize(features.to(torch.float32), dim=-1)  # (C, D)

    def _check_text(self, text: str, *, n_ctx: int = 0) -> None:
        """Refuses a text that the text tower would read differently from how it is written."""
        tokens = self.tokenizer.encode(text)
        marks = {self.tokenizer.sot_token_id, self.tokenizer.eot_token_id}
        if marks.intersection(tokens):
            raise ValueError(
                f"A text must not contain start or end marks; {quote(text)} contains one."
            )
        length = n_ctx + len(tokens) + 2  # with [SOS] and [EOS]
        if length > self.card.context_length:
            raise ValueError(
                f"A text has at most {self.card.context_length} tokens; {quote(text)} has {length}."
            )
