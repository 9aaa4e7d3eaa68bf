"""Attention of learned queries over a sequence, with which SigLIP and CONCH pool an image."""

from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional


@final
class QueriedAttention(nn.Module):
    """`nn.MultiheadAttention` for queries that are not the sequence itself, without a mask.

    Its parameters stay the same tensors. Keys and values may have a width of their own.
    """

    def __init__(self, attention: nn.MultiheadAttention) -> None:
        super().__init__()
        width, self.num_heads = attention.embed_dim, attention.num_heads
        if attention.in_proj_weight is not None:
            weights = attention.in_proj_weight.split(width)
        else:
            weights = (
                attention.q_proj_weight,
                attention.k_proj_weight,
                attention.v_proj_weight,
            )
        biases = attention.in_proj_bias.split(width)
        self.q, self.k, self.v = map(_create_linear, weights, biases)
        self.out = _create_linear(attention.out_proj.weight, attention.out_proj.bias)

    def forward(self, queries: Tensor, sequence: Tensor) -> Tensor:
        """Returns (B, Q, D) for queries (B, Q, D) and a sequence (B, L, C)."""
        q, k, v = self._split(self.q(queries)), self._split(self.k(sequence)), self.v(sequence)
        mixed = functional.scaled_dot_product_attention(q, k, self._split(v))
        out: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return out

    def _split(self, x: Tensor) -> Tensor:
        """(B, L, D) to (B, heads, L, D / heads)."""
        heads: Tensor = x.unflatten(-1, (self.num_heads, -1))
        return heads.transpose(1, 2)


def _create_linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    with torch.device("meta"):
        linear = nn.Linear(weight.shape[1], weight.shape[0])
    linear.weight = nn.Parameter(weight.detach(), requires_grad=False)
    linear.bias = nn.Parameter(bias.detach(), requires_grad=False)
    return linear
