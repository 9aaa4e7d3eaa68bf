"""The base classifier f: integer pixels to logits over the classes of one prompt."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from models.catalogue.texts import check_class_names, create_text
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
        ValueError: the template or the class names are not valid (see `models.catalogue.cards`), a
            text is longer than the context, or the model reads two of the names alike.
    """
    names = check_class_names(tuple(class_names))
    texts = [create_text(template, name) for name in names]
    check_read_apart(vlm, names, texts)
    return _create(vlm, names, vlm.encode_texts(texts))


def create_prompted_classifier(
    vlm: VLM, prompt: Prompt, class_names: Sequence[str]
) -> BaseClassifier:
    """Computes the text features of a learned prompt once and returns its classifier.

    Raises:
        ValueError: the class names are not valid, the model reads two of them alike, or the prompt
            is too long or not for this model.
    """
    names = check_class_names(tuple(class_names))
    texts = [prompt.create_text(name) for name in names]
    check_read_apart(vlm, names, texts, n_ctx=len(prompt.ctx))
    ctx = torch.tensor(prompt.ctx, device=vlm.device)
    with torch.no_grad():
        return _create(vlm, names, vlm.encode_prompts(ctx, texts))


def check_read_apart(
    vlm: VLM, class_names: Sequence[str], texts: Sequence[str], *, n_ctx: int = 0
) -> None:
    """Refuses class names whose texts have equal tokens: to the model they are one class.

    Features do not show it. Those of equal tokens may differ in their last bits within one batch,
    and would then share the votes of one class by rounding.

    Raises:
        ValueError: two texts have equal tokens, or one is longer than the context.
    """
    tokens = vlm.tokenize(texts, n_ctx=n_ctx)
    if tokens is not None and (pair := _find_equal(tokens, class_names)):
        raise ValueError(
            f"Expected class names that the tokenizer tells apart; it reads {pair[0]!r} and "
            f"{pair[1]!r} alike, as the same tokens, so no image could tell them apart. Tokenizers "
            "may drop case, spaces, punctuation and characters that they do not know: write out "
            "what differs."
        )


def check_bank(vlm: VLM, bank: Sequence[str | Prompt], class_names: Sequence[str]) -> None:
    """Refuses a bank with two prompts or templates that are one to the model.

    Votes would be shared between them by rounding, as between class names that are read alike.

    Raises:
        ValueError: two have equal vectors, or none, and equal tokens for every class name.
    """
    seen: dict[tuple[bytes, bytes], str] = {}
    for one in bank:
        if isinstance(one, str):
            name, n_ctx, ctx = one, 0, b""
            texts = [create_text(one, label) for label in class_names]
        else:
            name, n_ctx, ctx = one.sha256[:12], one.n_ctx, one.ctx.tobytes()
            texts = [one.create_text(label) for label in class_names]
        tokens = vlm.tokenize(texts, n_ctx=n_ctx)
        if tokens is None:
            return
        earlier = seen.setdefault((ctx, tokens.cpu().numpy().tobytes()), name)
        if earlier != name:
            raise ValueError(
                f"Expected prompts of a bank that the tokenizer tells apart; it reads {earlier!r} "
                f"and {name!r} alike, as the same tokens. Leave one of them out."
            )


def _create(vlm: VLM, names: Sequence[str], features: Tensor) -> BaseClassifier:
    """Raises ValueError if a text tower computes the same features for two names."""
    if vlm.text_width and (pair := _find_equal(features, names)):
        raise ValueError(
            f"Expected class names that the text tower tells apart; it has the same features for "
            f"{pair[0]!r} and {pair[1]!r}. Rename one of them."
        )
    return BaseClassifier(vlm=vlm, text_features=features)


def _find_equal(rows: Tensor, names: Sequence[str]) -> tuple[str, str] | None:
    """The first two names whose rows have the same bits, if there are any."""
    seen: dict[bytes, str] = {}
    for row, name in zip(rows.detach().cpu(), names, strict=True):
        earlier = seen.setdefault(row.numpy().tobytes(), name)
        if earlier != name:
            return earlier, name
    return None
