"""The two towers of a SigLIP, with context vectors among the embeddings of its text tower.

transformers' modules hold the weights. A SigLIP was trained with a sigmoid for each pair of image
and text, over a scaled and shifted cosine. The shift is the same for all classes: it changes
neither the largest logit nor a softmax over classes, and is left out.
"""

from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor

from models.vlm.pooled.queried_attention import QueriedAttention
from models.vlm.pooled.siglip_tokens import SiglipTokenizer
from models.vlm.text_tower import TextTower


@final
class SiglipTextTower(TextTower):
    """The tokens of a prompt are `v₁ … v_M class name … <end> padding`; there is no start token.

    The vectors come first, and the same amount of padding is dropped at the end. Every position
    sees every other, and the last one, which may be padding, is the feature.
    """

    def __init__(self, text_model: Any, tokenizer: SiglipTokenizer) -> None:
        super().__init__()
        self.model = text_model  # transformers' SiglipTextModel
        self.tokenizer: SiglipTokenizer = tokenizer

    @property
    def words(self) -> Any:
        """See `TextTower.words`."""
        return self.model.embeddings.token_embedding

    def tokenize(self, texts: Sequence[str], *, n_ctx: int = 0) -> Tensor:
        """See `TextTower.tokenize`."""
        return self.tokenizer(texts, n_ctx=n_ctx)

    def forward(self, ctx: Tensor, texts: Sequence[str]) -> Tensor:
        """See `TextTower.forward`."""
        words = self.words(self.tokenize(texts, n_ctx=len(ctx)).to(ctx.device))
        vectors = ctx.expand(len(texts), -1, -1)  # (C, n_ctx, width)
        x = self.model.embeddings(inputs_embeds=torch.cat([vectors, words], dim=1))
        for layer in self.model.encoder.layers:
            x = layer(x, None)
        x = self.model.final_layer_norm(x)  # (C, context_length, width)
        features: Tensor = self.model.head(x[:, -1])
        return features


@final
class SiglipImageTower(torch.nn.Module):
    """Patches, a transformer, and a learned query that attends to all of its output."""

    def __init__(self, vision_model: Any) -> None:
        super().__init__()
        head = vision_model.head
        self.embeddings = vision_model.embeddings
        self.layers = vision_model.encoder.layers
        self.post_layernorm = vision_model.post_layernorm
        self.probe = head.probe  # (1, 1, width)
        self.attention = QueriedAttention(head.attention)
        self.layernorm, self.mlp = head.layernorm, head.mlp

    def forward(self, inputs: Tensor) -> Tensor:
        """Returns features (B, D), not normalised, for normalised pixels (B, 3, H, W)."""
        x = self.embeddings(inputs)
        for layer in self.layers:
            x = layer(x, None)
        x = self.post_layernorm(x)  # (B, patches, width)
        queries = self.probe.expand(x.shape[0], -1, -1)  # len(x) would fix the rows of a trace
        pooled = self.attention(queries, x)  # (B, 1, width)
        features: Tensor = (pooled + self.mlp(self.layernorm(pooled)))[:, 0]
        return features
