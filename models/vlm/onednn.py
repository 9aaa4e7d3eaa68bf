"""Runs an image tower's matrix products on a CPU with oneDNN, which torch ships but does not use.

torch passes float32 products to MKL. On an AMD CPU with AVX-512, oneDNN's kernels were at least
twice as fast (benchmarks/results/throughput-cpu.md). They need no compiler, and the weights stay
where they are.
"""

from functools import cache
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn import functional

KERNELS = "onednn-linear/1"
"""Names these kernels in an identity, because they change the last bits of a logit."""


def use_onednn(tower: nn.Module, device: torch.device) -> None:
    """Replaces the linear layers and self-attentions of a frozen tower on a CPU that has oneDNN.

    Parameters stay the same tensors under the same names. On other devices nothing changes, nor do
    layers in a precision for which oneDNN has no kernel on this CPU, such as bf16 without AVX-512.
    """
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return
    for name, child in list(tower.named_children()):
        if type(child) is nn.Linear and _has_kernel(child.weight.dtype):
            setattr(tower, name, _Linear(child).train(child.training))
        elif type(child) is nn.MultiheadAttention and _is_plain(child):
            setattr(tower, name, _SelfAttention(child).train(child.training))
        else:
            use_onednn(child, device)


def find_kernels(tower: nn.Module) -> str:
    """Returns which kernels a tower's matrix products use: `KERNELS`, or torch's own."""
    return KERNELS if any(isinstance(part, _Linear) for part in tower.modules()) else "torch"


@cache
def _has_kernel(dtype: torch.dtype) -> bool:
    """Whether oneDNN multiplies in this precision here. Only a try tells."""
    one = torch.ones(1, 1, dtype=dtype)
    try:
        _multiply(one, one, None)
    except RuntimeError:
        return False
    return True


def _multiply(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Returns x Wᵀ + b over the last dimension. A gradient reaches x and no other argument."""
    if torch.jit.is_tracing():  # type: ignore[attr-defined,no-untyped-call]
        # Another runtime is given the tower, and does not know this operation.
        return functional.linear(x, weight, bias)
    if torch.is_grad_enabled() and x.requires_grad:
        product: Tensor = _Product.apply(x, weight, bias)  # type: ignore[no-untyped-call]
        return product
    return _product(x, weight, bias)


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return product


class _Product(torch.autograd.Function):
    """The same product, and the gradient for x, which oneDNN's operator has not. W is frozen."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.weight = weight
        return _product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return _product(grads[0].contiguous(), ctx.weight.t().contiguous(), None), None, None


@final
class _Linear(nn.Module):
    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.train(linear.training)

    def forward(self, x: Tensor) -> Tensor:
        return _multiply(x, self.weight, self.bias)


def _is_plain(attention: nn.MultiheadAttention) -> bool:
    return (
        attention.batch_first
        and attention.in_proj_weight is not None
        and attention.in_proj_bias is not None
        and _has_kernel(attention.in_proj_weight.dtype)
        and attention.bias_k is None
        and not attention.add_zero_attn
    )


@final
class _SelfAttention(nn.Module):
    """`nn.MultiheadAttention` for a tower that attends to itself without a mask."""

    def __init__(self, attention: nn.MultiheadAttention) -> None:
        super().__init__()
        self.in_proj_weight, self.in_proj_bias = attention.in_proj_weight, attention.in_proj_bias
        self.out_proj = _Linear(attention.out_proj)
        self.num_heads, self.head_dim = attention.num_heads, attention.head_dim
        self.train(attention.training)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        need_weights: bool = False,
        attn_mask: Tensor | None = None,
    ) -> tuple[Tensor, None]:
        if need_weights or attn_mask is not None or key is not query or value is not query:
            raise NotImplementedError("an image tower attends to itself, without a mask")
        rows, length, width = query.shape
        packed = _multiply(query, self.in_proj_weight, self.in_proj_bias)  # (B, L, 3 D)
        parts = packed.view(rows, length, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4)
        q, k, v = parts.unbind(0)  # (B, heads, L, D / heads)
        mixed = functional.scaled_dot_product_attention(q, k, v)
        out: Tensor = self.out_proj(mixed.transpose(1, 2).reshape(rows, length, width))
        return out, None
