"""Denoised smoothing: a denoiser in front of a frozen model (Salman et al., NeurIPS 2020).

Denoiser and model together are the base classifier f. A certificate is about this f, so the digest
of the model covers the denoiser's weights.
"""

from itertools import pairwise
from typing import final

import torch
from torch import Tensor
from torch.nn import functional

from models.vlm.compiled import CompiledVLM
from models.vlm.vlm import VLM, TextsOfBase, check_pixels

_SCALE = 2
_FILTER = 5


@final
class Denoiser(torch.nn.Module):
    """Removes the noise of one noise level: a linear filter, and a residual network that mends it.

    Before training the filter is the mean of 5 x 5 pixels and the network adds 0, so training
    starts where most of strong noise is gone already. The network sees the image as four sub-images
    at half the resolution, as in FFDNet (Zhang, Zuo and Zhang, IEEE TIP 2018).

    Args:
        width: channels of the hidden layers.
        layers: the number of 3 x 3 convolutions of the network, at least 2.
    """

    def __init__(self, *, width: int, layers: int) -> None:
        super().__init__()
        ends = 3 * _SCALE**2
        widths = [ends, *[width] * (layers - 1), ends]
        convolutions = [
            torch.nn.Conv2d(before, after, 3, padding=1) for before, after in pairwise(widths)
        ]
        for convolution in convolutions:
            torch.nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
            torch.nn.init.zeros_(convolution.get_parameter("bias"))
        torch.nn.init.zeros_(convolutions[-1].weight)
        self.convolutions = torch.nn.ModuleList(convolutions)
        self.filter = torch.nn.Conv2d(
            3, 3, _FILTER, padding=_FILTER // 2, padding_mode="replicate", groups=3, bias=False
        )
        torch.nn.init.constant_(self.filter.weight, 1 / _FILTER**2)

    def forward(self, pixels: Tensor) -> Tensor:
        """Returns float32 (B, 3, S, S) for noisy pixels of the same shape, in units of [0, 1].

        S must be even. Nothing is clipped.
        """
        x = functional.pixel_unshuffle(pixels, _SCALE)  # (B, 12, S/2, S/2)
        *hidden, last = self.convolutions
        for convolution in hidden:
            x = functional.relu(convolution(x))
        filtered: Tensor = self.filter(pixels)
        return filtered + functional.pixel_shuffle(last(x), _SCALE)


@final
class DenoisedVLM(TextsOfBase):
    """A frozen model that sees denoised pixels, rounded to whole levels. Implements `VLM`.

    The text tower is the model's own.

    Raises:
        ValueError: the model's images have an odd size.
    """

    def __init__(self, base: VLM, denoiser: Denoiser) -> None:
        if base.card.preprocessing.size % _SCALE:
            raise ValueError(
                f"A denoiser takes images of even size; {base.card.id} takes "
                f"{base.card.preprocessing.size} pixels."
            )
        self.base = base
        self.denoiser = denoiser.to(base.device).eval().requires_grad_(False)
        self.card, self.device = base.card, base.device
        self.embed_dim, self.logit_scale = base.embed_dim, base.logit_scale
        self.text_width = base.text_width
        self.kernels = getattr(base, "kernels", None)
        self.precision = getattr(base, "precision", None)

    @torch.no_grad()
    def encode_images(self, pixels: Tensor) -> Tensor:
        """See `VLM.encode_images`."""
        return self.base.encode_images(self.denoise(pixels))

    @torch.no_grad()
    def denoise(self, pixels: Tensor) -> Tensor:
        """The pixels that the model behind sees: int16, shaped as `pixels`."""
        check_pixels(pixels, self.card.preprocessing.size)
        denoised: Tensor = 255 * self.denoiser(pixels.to(torch.float32) / 255)  # (B, 3, S, S)
        return denoised.round().clamp(-32768, 32767).to(torch.int16)

    def encode_levels(self, levels: Tensor) -> Tensor:
        """See `VLM.encode_levels`. The gradient passes rounding as if it were not there."""
        denoised = 255 * self.denoiser(levels / 255)  # (B, 3, S, S)
        return self.base.encode_levels(denoised + (denoised.round() - denoised).detach())


def find_compiled(vlm: VLM) -> CompiledVLM | None:
    """The compiled model that a model is, or has behind its denoiser; None: there is none."""
    inner = vlm.base if isinstance(vlm, DenoisedVLM) else vlm
    return inner if isinstance(inner, CompiledVLM) else None


def encode_raw(vlm: VLM, pixels: Tensor) -> Tensor:
    """The image features, (B, D), and beside them the logits of an ONNX network, (B, D).

    Features hide a logit where softmax saturates, and other models have none before texts are read.
    """
    if isinstance(vlm, DenoisedVLM):
        return encode_raw(vlm.base, vlm.denoise(pixels))
    return vlm.encode_raw(pixels) if isinstance(vlm, CompiledVLM) else vlm.encode_images(pixels)
