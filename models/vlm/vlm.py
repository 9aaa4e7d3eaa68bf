"""The interface of a vision-language model, and its first layer."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from models.catalogue.cards import ModelCard, Preprocessing


class VLM(Protocol):
    """A frozen image tower and a frozen text tower whose features lie on one unit sphere.

    Noise is added to integer pixels before they arrive here, so values may lie outside 0..255; they
    are not clipped. The same integers give the same features: nothing is random. At a fixed batch
    shape, the features of a row depend neither on its place nor on its neighbours.
    """

    @property
    def card(self) -> ModelCard:
        """The card that the model was loaded from."""

    @property
    def device(self) -> torch.device:
        """The device that holds the weights and the results."""

    @property
    def embed_dim(self) -> int:
        """D, the length of a feature vector."""

    @property
    def logit_scale(self) -> float:
        """The factor from cosine similarity to logit, already exponentiated."""

    def encode_images(self, pixels: Tensor) -> Tensor:
        """Returns features, float32 (B, D) of unit length, for pixels, int16 (B, 3, H, W).

        Raises:
            ValueError: the pixels have another dtype or shape.
        """

    def encode_levels(self, levels: Tensor) -> Tensor:
        """Returns features, float32 (B, D), for grey levels, float32 (B, 3, H, W), with a gradient.

        No vote is counted on them. Whole levels have the features that `encode_images` gives them,
        up to rounding. Where f rounds or steps, the gradient is that of a smooth stand-in.
        """

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Returns features, float32 (C, D) of unit length, for C texts.

        Raises:
            ValueError: a text is longer than the context.
        """

    def tokenize(self, texts: Sequence[str], *, n_ctx: int = 0) -> Tensor | None:
        """Returns the tokens of C texts that follow `n_ctx` vectors, int64 (C, length).

        They are all that the model reads of a text: two with equal rows are one to it. None: the
        model has no text tower.

        Raises:
            ValueError: a text is longer than the context.
        """

    @property
    def text_width(self) -> int:
        """The width of a context vector, or 0 if the model takes none."""

    def embed_text(self, text: str) -> Tensor:
        """Returns the embeddings of a text's tokens, float32 (n, text_width), no start or end.

        Raises:
            ValueError: the model takes no context vectors, or the text has no tokens.
        """

    def encode_prompts(self, ctx: Tensor, texts: Sequence[str]) -> Tensor:
        """Returns features of C prompts, float32 (C, D) of unit length; a gradient reaches `ctx`.

        Each prompt is the context vectors followed by one of the texts, as if the vectors were the
        embeddings of its first words.

        Args:
            ctx: float32 (n_ctx, text_width).
            texts: the words that follow the vectors, one text for each class.

        Raises:
            ValueError: the vectors have another width, or a prompt is longer than the context.
        """


@runtime_checkable
class NormalisedTower(Protocol):
    """A `VLM` whose image tower also accepts pixels that the caller has already normalised.

    `encode_images(pixels)` is `encode_normalised(normalise(pixels).to(image_dtype))`, bit for bit.
    """

    @property
    def image_dtype(self) -> torch.dtype:
        """The dtype in which the image tower computes."""

    @property
    def normalise(self) -> "PixelNormalisation":
        """The first layer."""

    def encode_normalised(self, inputs: Tensor) -> Tensor:
        """Returns features, float32 (B, D), for normalised pixels, `image_dtype` (B, 3, H, W)."""


class TorchImagePath:
    """The image path of a `VLM` whose image tower torch computes. Implements `NormalisedTower`."""

    card: ModelCard
    image_dtype: torch.dtype
    normalise: "PixelNormalisation"
    text_width: int

    def _encode(self, inputs: Tensor) -> Tensor:
        """Returns features, float32 (B, D) of unit length, for normalised pixels."""
        raise NotImplementedError

    @torch.no_grad()
    def encode_images(self, pixels: Tensor) -> Tensor:
        """See `VLM.encode_images`."""
        return self.encode_normalised(self.normalise(pixels).to(self.image_dtype))

    @torch.no_grad()
    def encode_normalised(self, inputs: Tensor) -> Tensor:
        """See `NormalisedTower.encode_normalised`."""
        return self._encode(inputs)

    def encode_levels(self, levels: Tensor) -> Tensor:
        """See `VLM.encode_levels`."""
        return self._encode(self.normalise.of_levels(levels).to(self.image_dtype))

    def check_ctx(self, ctx: Tensor) -> None:
        """Raises ValueError if context vectors do not have the width of the text tower."""
        if ctx.ndim != 2 or ctx.shape[1] != self.text_width:
            raise ValueError(
                f"The model {self.card.id} takes context vectors of width {self.text_width}; "
                f"got {tuple(ctx.shape)}."
            )


class TextsOfBase:
    """The texts of a `VLM` with another image path than the model `base`, which reads them."""

    base: VLM

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """See `VLM.encode_texts`."""
        return self.base.encode_texts(texts)

    def tokenize(self, texts: Sequence[str], *, n_ctx: int = 0) -> Tensor | None:
        """See `VLM.tokenize`."""
        return self.base.tokenize(texts, n_ctx=n_ctx)

    def embed_text(self, text: str) -> Tensor:
        """See `VLM.embed_text`."""
        return self.base.embed_text(text)

    def encode_prompts(self, ctx: Tensor, texts: Sequence[str]) -> Tensor:
        """See `VLM.encode_prompts`."""
        return self.base.encode_prompts(ctx, texts)


class PixelNormalisation(torch.nn.Module):
    """The base classifier's first layer: (integer / 255 - mean) / std for each channel.

    Pixels become floats here and nowhere earlier: image and noise are added as integers (Voráček
    and Hein, ICLR 2023), and this layer sees only the sum. Each of the three operations rounds once
    to nearest, on every device. 255 is a tensor because CUDA divides by a plain number through its
    reciprocal.
    """

    def __init__(self, preprocessing: Preprocessing, device: torch.device) -> None:
        super().__init__()
        self.size = preprocessing.size
        self.levels = torch.tensor(255.0, device=device)
        self.mean = torch.tensor(preprocessing.mean, device=device)[:, None, None]  # (3, 1, 1)
        self.std = torch.tensor(preprocessing.std, device=device)[:, None, None]  # (3, 1, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        """Returns float32 (B, 3, H, W) for int16 (B, 3, H, W)."""
        check_pixels(pixels, self.size)
        inputs = pixels.to(torch.float32)  # a copy, so the rest can be done in place
        return inputs.div_(self.levels).sub_(self.mean).div_(self.std)

    def of_levels(self, levels: Tensor) -> Tensor:
        """The same for levels in float32, not in place, so that a gradient passes."""
        return (levels / self.levels - self.mean) / self.std


def check_pixels(pixels: Tensor, size: int) -> None:
    """Passes for int16 (B, 3, size, size).

    Raises:
        ValueError: the pixels have another dtype or shape.
    """
    expected = (3, size, size)
    if pixels.dtype != torch.int16 or pixels.ndim != 4 or tuple(pixels.shape[1:]) != expected:
        raise ValueError(
            f"A batch of images must be int16 of shape (B, 3, {size}, {size}); "
            f"got {pixels.dtype} of shape {tuple(pixels.shape)}."
        )
