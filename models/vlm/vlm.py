"""What a vision-language model is to the rest of the service."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from models.catalogue.cards import ModelCard, Preprocessing


class VLM(Protocol):
    """A frozen image tower and a frozen text tower whose features meet on one unit sphere.

    Noise is added to integer pixels before they come here, so values may lie outside 0..255; they
    are not clipped. The same integers give the same features: nothing is drawn at random. At a
    fixed batch shape the features of a row depend neither on its place nor on its neighbours.
    """

    @property
    def card(self) -> ModelCard:
        """What the model was loaded by."""

    @property
    def device(self) -> torch.device:
        """Where its weights lie and its results are."""

    @property
    def embed_dim(self) -> int:
        """D, the length of a feature vector."""

    @property
    def logit_scale(self) -> float:
        """The factor between cosine similarity and logit (exponentiated already)."""

    def encode_images(self, pixels: Tensor) -> Tensor:
        """Integer pixels, int16 (B, 3, H, W), to features, float32 (B, D) of unit length.

        Raises:
            ValueError: another dtype or another shape.
        """

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """C texts to features, float32 (C, D) of unit length.

        Raises:
            ValueError: a text is longer than the context.
        """

    @property
    def text_width(self) -> int:
        """The width of a context vector; 0 where the model takes none."""

    def embed_text(self, text: str) -> Tensor:
        """The embeddings of a text's tokens, float32 (n, text_width), without start and end.

        Raises:
            ValueError: the model takes no context vectors, or the text has no token.
        """

    def encode_prompts(self, ctx: Tensor, texts: Sequence[str]) -> Tensor:
        """Features of C prompts, float32 (C, D) of unit length; a gradient reaches `ctx`.

        Each prompt is the context vectors followed by one of the texts, as if the vectors were
        the embeddings of its first words.

        Args:
            ctx: float32 (n_ctx, text_width).
            texts: what follows the vectors, for each class.

        Raises:
            ValueError: vectors of another width, or a prompt longer than the context.
        """


@runtime_checkable
class NormalisedTower(Protocol):
    """A `VLM` whose image tower can be given its normalised pixels, whoever normalised them.

    `encode_images(pixels)` is `encode_normalised(normalise(pixels).to(image_dtype))`, bit for bit.
    """

    @property
    def image_dtype(self) -> torch.dtype:
        """What the image tower computes in."""

    @property
    def normalise(self) -> "PixelNormalisation":
        """The first layer."""

    def encode_normalised(self, inputs: Tensor) -> Tensor:
        """Normalised pixels, `image_dtype` (B, 3, H, W), to features, float32 (B, D)."""


class PixelNormalisation(torch.nn.Module):
    """The base classifier's first layer: (integer / 255 - mean) / std for each channel.

    The integers become floats here and nowhere before: the sum of image and noise was made in
    integers (Voráček and Hein, ICLR 2023), and this layer sees only the sum. Each of the three
    operations rounds once to the nearest, on every device: 255 is a tensor, for CUDA divides by a
    number through its reciprocal.
    """

    def __init__(self, preprocessing: Preprocessing, device: torch.device) -> None:
        super().__init__()
        self.size = preprocessing.size
        self.levels = torch.tensor(255.0, device=device)
        self.mean = torch.tensor(preprocessing.mean, device=device)[:, None, None]  # (3, 1, 1)
        self.std = torch.tensor(preprocessing.std, device=device)[:, None, None]  # (3, 1, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        """int16 (B, 3, H, W) to float32 (B, 3, H, W)."""
        check_pixels(pixels, self.size)
        inputs = pixels.to(torch.float32)  # a copy, so that all else can be done in place
        return inputs.div_(self.levels).sub_(self.mean).div_(self.std)


def check_pixels(pixels: Tensor, size: int) -> None:
    """Passes for int16 (B, 3, size, size).

    Raises:
        ValueError: another dtype or another shape.
    """
    expected = (3, size, size)
    if pixels.dtype != torch.int16 or pixels.ndim != 4 or tuple(pixels.shape[1:]) != expected:
        raise ValueError(
            f"A batch of images is int16 of shape (B, 3, {size}, {size}); "
            f"{pixels.dtype} of shape {tuple(pixels.shape)} came."
        )
