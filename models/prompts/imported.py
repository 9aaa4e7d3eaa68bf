"""A prompt that was learned elsewhere: is it one, and is it one for this model? No torch.

Context vectors come as a tensor without a word about classes, so class names are asked for. Files
that are pickles are read by `models.learning.checkpoint`.
"""

from collections.abc import Sequence
from datetime import datetime

import numpy as np
import numpy.typing as npt

from models.catalogue.cards import ModelCard
from models.prompts.cards import PromptCard
from models.prompts.prompt import MAX_N_CTX, MAX_WIDTH, Prompt

_OTHER_TOKENS = 3  # [SOS], at least one token for the class name, [EOS]


class ImportRefused(ValueError):
    """What came is no prompt, or no prompt for this model."""


def create_import(
    ctx: npt.NDArray[np.float32],
    *,
    prompt_id: str,
    model: ModelCard,
    text_width: int | None,
    class_names: Sequence[str],
    suffix: str,
    created_at: datetime,
    description: str = "",
    licence: str = "",
    source: str = "",
) -> tuple[PromptCard, Prompt]:
    """The card and the prompt that context vectors, a model and class names make.

    Args:
        ctx: float32 (n_ctx, width).
        text_width: that of the model, as `find_text_width` gives it.

    Raises:
        ImportRefused: vectors of another shape, class-specific ones, NaN, or another model's.
        ValueError: the id, the class names or the suffix break a rule of `PromptCard`.
    """
    check_shape(ctx.shape)
    if not np.isfinite(ctx).all():
        raise ImportRefused("Context vectors are finite numbers; NaN or infinity came.")
    prompt = Prompt(ctx=ctx, suffix=suffix)
    check_fits(prompt, model, text_width)
    card = PromptCard(
        id=prompt_id,
        model=model.id,
        weights_sha256=model.weights_sha256,
        method="imported",
        class_names=tuple(class_names),
        n_ctx=prompt.n_ctx,
        width=prompt.width,
        suffix=prompt.suffix,
        sha256=prompt.sha256,
        created_at=created_at,
        description=description,
        licence=licence,
        source=source,
    )
    return card, prompt


def check_shape(shape: Sequence[int]) -> None:
    """Passes for the shape of context vectors that all classes share.

    Raises:
        ImportRefused: another number of dimensions, or more vectors than a prompt has.
    """
    if len(shape) == 3:
        raise ImportRefused(
            f"Context vectors shared by all classes, (n_ctx, width), were expected; class-specific "
            f"ones came, {tuple(shape)}: one context for each class. Learn a shared context."
        )
    if len(shape) != 2:
        raise ImportRefused(
            f"Context vectors of the shape (n_ctx, width) were expected; {tuple(shape)} came."
        )
    if not (1 <= shape[0] <= MAX_N_CTX and 1 <= shape[1] <= MAX_WIDTH):
        raise ImportRefused(
            f"A prompt has 1 to {MAX_N_CTX} context vectors of width 1 to {MAX_WIDTH}; "
            f"{shape[0]} of width {shape[1]} came."
        )


def check_fits(prompt: Prompt, model: ModelCard, text_width: int | None) -> None:
    """Passes when the model's text tower takes vectors of this width and number.

    Raises:
        ImportRefused: it does not.
    """
    if text_width == 0:
        raise ImportRefused(f"The model {model.id!r} takes no context vectors.")
    if text_width not in (None, prompt.width):
        raise ImportRefused(
            f"The model {model.id!r} takes context vectors of width {text_width}; vectors of width "
            f"{prompt.width} came, which belong to another model."
        )
    most = model.context_length - _OTHER_TOKENS
    if prompt.n_ctx > most:
        raise ImportRefused(
            f"The model {model.id!r} reads {model.context_length} tokens, so a prompt has at most "
            f"{most} context vectors; {prompt.n_ctx} came."
        )
