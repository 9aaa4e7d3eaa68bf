"""CLIP's text tower, taking embeddings instead of tokens so that context vectors can come first."""

from typing import Any, final

import torch
from torch import Tensor

from models.catalogue.weights import ConfigMismatch


@final
class ClipTextTower:
    """The steps of open_clip's `encode_text`, with context vectors after the start token.

    The tokens of a prompt are `[SOS] class name … [EOS] padding`. The vectors are inserted after
    [SOS], and the same amount of padding is dropped at the end. So [EOS] and every position are
    where a text of that length has them (CoOp, Zhou et al., IJCV 2022; PromptSmooth uses the same
    layout).
    """

    def __init__(self, clip: Any) -> None:  # open_clip is untyped
        tower = getattr(clip, "text", clip)  # CustomTextCLIP has a separate text tower
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
        else:  # causal: [EOS] does not see the padding after it, which is most of the length
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
