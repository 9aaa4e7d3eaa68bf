"""The two towers of CONCH, a CoCa whose parts for captions are left out.

Weights keep the names that their authors gave them.
"""

import math
from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.catalogue.conch_config import ConchConfig, ConchText, ConchVision
from models.vlm._imports import create_vit, get_open_clip
from models.vlm.pooled.conch_tokens import ConchTokenizer
from models.vlm.pooled.queried_attention import QueriedAttention
from models.vlm.text_tower import TextTower


@final
class Conch(nn.Module):
    """The published module without its parts for captions, with random weights."""

    def __init__(self, config: ConchConfig) -> None:
        super().__init__()
        self.visual = _Visual(config.vision_cfg, config.embed_dim)
        self.text = _Text(config.text_cfg, config.embed_dim)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))


class _Visual(nn.Module):
    """A ViT, and the pooler of the feature."""

    def __init__(self, config: ConchVision, embed_dim: int) -> None:
        super().__init__()
        self.trunk = create_vit(
            img_size=config.image_size,
            patch_size=config.patch_size,
            embed_dim=config.width,
            depth=config.layers,
            num_heads=config.num_heads,
            mlp_ratio=config.mlp_ratio,
        )
        self.attn_pool_contrast = _Pooler(embed_dim, config.width, config.attn_pooler_heads)
        self.ln_contrast = nn.LayerNorm(embed_dim)
        self.proj_contrast = nn.Parameter(torch.empty(embed_dim, embed_dim))


class _Pooler(nn.Module):
    def __init__(self, width: int, context_width: int, heads: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.empty(1, width))
        self.attn = nn.MultiheadAttention(width, heads, kdim=context_width, vdim=context_width)
        self.ln_q, self.ln_k = nn.LayerNorm(width), nn.LayerNorm(context_width)


class _Text(nn.Module):
    """A transformer of words and one learned token after them."""

    def __init__(self, config: ConchText, embed_dim: int) -> None:
        super().__init__()
        self.text_projection = nn.Parameter(torch.empty(config.width, embed_dim))
        self.cls_emb = nn.Parameter(torch.empty(config.width))
        self.token_embedding = nn.Embedding(config.vocab_size, config.width)
        self.positional_embedding = nn.Parameter(torch.empty(config.context_length, config.width))
        self.transformer = get_open_clip().transformer.Transformer(
            width=config.width, layers=config.layers, heads=config.heads
        )
        self.ln_final = nn.LayerNorm(config.width)


@final
class ConchImageTower(nn.Module):
    """All tokens of the ViT, which one learned query attends to."""

    def __init__(self, visual: Any) -> None:
        super().__init__()
        pooler = visual.attn_pool_contrast
        self.trunk = visual.trunk
        self.query, self.ln_q, self.ln_k = pooler.query, pooler.ln_q, pooler.ln_k
        self.attention = QueriedAttention(pooler.attn)
        self.ln_contrast, self.proj_contrast = visual.ln_contrast, visual.proj_contrast

    def forward(self, inputs: Tensor) -> Tensor:
        """Returns features (B, D), not normalised, for normalised pixels (B, 3, H, W)."""
        x = self.ln_k(self.trunk.forward_features(inputs))  # (B, 1 + patches, width)
        rows = x.shape[0]  # len(x) would fix the rows of a trace
        queries = self.ln_q(self.query).expand(rows, 1, -1)  # (B, 1, D)
        pooled = self.ln_contrast(self.attention(queries, x)[:, 0])  # (B, D)
        features: Tensor = pooled @ self.proj_contrast
        return features


@final
class ConchTextTower(TextTower):
    """The tokens of a prompt are `<start> v₁ … v_M class name … <end> padding <cls>`.

    The vectors are inserted after <start>, and the same amount of padding is dropped at the end.
    <cls> is a learned embedding at the last position, whose output is the feature. Other positions
    see what is before them, padding included. <cls> sees as many positions as there are tokens that
    are no padding, and one more, as in the published code: its mask of padding is one place late.
    """

    def __init__(self, text: Any, tokenizer: ConchTokenizer) -> None:
        super().__init__()
        self.text = text
        self.tokenizer: ConchTokenizer = tokenizer

    @property
    def words(self) -> Any:
        """See `TextTower.words`."""
        return self.text.token_embedding

    def tokenize(self, texts: Sequence[str], *, n_ctx: int = 0) -> Tensor:
        """See `TextTower.tokenize`."""
        return self.tokenizer(texts, n_ctx=n_ctx).ids

    def forward(self, ctx: Tensor, texts: Sequence[str]) -> Tensor:
        """See `TextTower.forward`."""
        tokens = self.tokenizer(texts, n_ctx=len(ctx))
        words = self.text.token_embedding(tokens.ids.to(ctx.device))  # (C, length, width)
        vectors = ctx.expand(len(texts), -1, -1)  # (C, n_ctx, width)
        last = self.text.cls_emb.expand(len(texts), 1, -1)  # (C, 1, width)
        x = torch.cat([words[:, :1], vectors, words[:, 1:], last], dim=1)
        x = x + self.text.positional_embedding  # (C, context_length, width)
        seen = _create_mask(tokens.used.to(ctx.device) + len(ctx), x.shape[1])
        for block in self.text.transformer.resblocks:
            x = x + _attend(block.attn, block.ln_1(x), seen)
            x = x + block.mlp(block.ln_2(x))
        features: Tensor = self.text.ln_final(x[:, -1]) @ self.text.text_projection
        return features


def _create_mask(used: Tensor, length: int) -> Tensor:
    """Which position sees which, bool (C, 1, length, length), for `used` tokens of each text."""
    seen = torch.ones(length, length, dtype=torch.bool, device=used.device).tril()
    whole = seen.expand(len(used), -1, -1).clone()
    whole[:, -1] = torch.arange(length, device=used.device) <= used[:, None]
    return whole[:, None]


def _attend(attention: nn.MultiheadAttention, x: Tensor, seen: Tensor) -> Tensor:
    """Self-attention of (C, length, width) with a mask for each text."""
    packed = functional.linear(x, attention.in_proj_weight, attention.in_proj_bias)
    parts = packed.unflatten(-1, (3, attention.num_heads, -1)).permute(2, 0, 3, 1, 4)
    q, k, v = parts.unbind(0)  # (C, heads, length, width / heads)
    mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=seen)
    out: Tensor = attention.out_proj(mixed.transpose(1, 2).flatten(2))
    return out
