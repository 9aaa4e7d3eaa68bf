"""The base classifier f: integer pixels to logits over the classes of one prompt."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import unescape
from typing import final

import torch
from torch import Tensor

from models.catalogue.cards import check_class_names, create_text, find_alike
from models.prompts.prompt import Prompt
from models.vlm.vlm import VLM


@final
@dataclass(frozen=True, kw_only=True)
class BaseClassifier:
    """A model with the text features of one prompt, float32 (C, D) of unit length.

    Image features do not depend on the prompt, so several base classifiers can share them.
    """

    vlm: VLM
    text_features: Tensor

    def __post_init__(self) -> None:
        shape = tuple(self.text_features.shape)
        if len(shape) != 2 or shape[0] < 2 or shape[1] != self.vlm.embed_dim:
            raise ValueError(
                f"Text features must be (C, {self.vlm.embed_dim}) with C > 1; got {shape}."
            )
        if self.text_features.dtype != torch.float32:
            raise ValueError(f"Text features must be float32; got {self.text_features.dtype}.")

    @property
    def num_classes(self) -> int:
        """C, the number of classes."""
        return len(self.text_features)

    def logits(self, image_features: Tensor) -> Tensor:
        """Returns logit_scale · cosine similarity in float32; (B, D) to (B, C).

        Each pair has its own product and sum. A matrix product is not used, because it may add a
        row's terms in an order that depends on the row's place in the batch.
        """
        products = image_features[:, None, :] * self.text_features  # (B, C, D)
        return self.vlm.logit_scale * products.sum(dim=-1)  # (B, C)

    def __call__(self, pixels: Tensor) -> Tensor:
        """Returns logits, float32 (B, C), for pixels, int16 (B, 3, H, W)."""
        return self.logits(self.vlm.encode_images(pixels))


def create_base_classifier(vlm: VLM, template: str, class_names: Sequence[str]) -> BaseClassifier:
    """Computes the text features of a template prompt once and returns its classifier.

    Raises:
        ValueError: the template or the class names are not valid (see `models.catalogue.cards`), or
            the tokenizer reads two of them alike.
    """
    names = check_class_names(tuple(class_names))
    features = vlm.encode_texts([create_text(template, name) for name in names])
    _check_distinct(features, names)
    return BaseClassifier(vlm=vlm, text_features=features)


def create_prompted_classifier(
    vlm: VLM, prompt: Prompt, class_names: Sequence[str]
) -> BaseClassifier:
    """Computes the text features of a learned prompt once and returns its classifier.

    Raises:
        ValueError: the class names are not valid, the tokenizer reads two of them alike, or the
            prompt is not for this model.
    """
    names = check_class_names(tuple(class_names))
    ctx = torch.tensor(prompt.ctx, device=vlm.device)  # (n_ctx, width)
    with torch.no_grad():
        features = vlm.encode_prompts(ctx, [prompt.create_text(name) for name in names])
    _check_distinct(features, names)
    return BaseClassifier(vlm=vlm, text_features=features)


def _check_distinct(features: Tensor, names: Sequence[str]) -> None:
    """Refuses names that differ in case, spaces or HTML alone and have equal features.

    Their tokens are equal, so no image tells them apart.
    """
    seen: dict[bytes, str] = {}
    for row, name in zip(features.detach().cpu(), names, strict=True):
        earlier = seen.setdefault(row.numpy().tobytes(), name)
        if earlier != name and find_alike([unescape(earlier), unescape(name)]):
            raise ValueError(
                f"Expected class names that the tokenizer tells apart; it reads {earlier!r} and "
                f"{name!r} alike. Rename one of them."
            )
