"""Checks a prompt that was learned elsewhere and creates its card for a model; no torch.

The tensor of context vectors says nothing about classes, so the caller gives the class names.
`models.learning.checkpoint` reads files that are pickles.
"""

import re
from collections.abc import Collection, Sequence
from datetime import datetime

import numpy as np
import numpy.typing as npt

from models.catalogue.cards import ModelCard
from models.catalogue.texts import check_new_class_names
from models.files.untrusted_text import quote
from models.prompts.cards import PromptCard
from models.prompts.prompt import MAX_N_CTX, MAX_WIDTH, Prompt

# What CoOp (Zhou et al., 2022) saves of a learner of shared vectors; all but ctx follows from the
# class names.
_SHARED = frozenset({"ctx", "token_prefix", "token_suffix"})
# What stands before the names where a whole model was saved, also by DataParallel or torch.compile.
_BEFORE = re.compile(r"((module|_orig_mod)\.)*(prompt_learner\.)?((module|_orig_mod)\.)*")
_LEARNERS = (  # part of a tensor's name, the learner, and why its prompt is no shared context
    ("meta_net", "CoCoOp", "its prompt depends on the image"),
    ("compound_prompt", "MaPLe", "its prompt also changes the image tower"),
    ("VPT", "visual prompt tuning", "its prompt also changes the image tower"),
    ("image_encoder", "a learner with an image tower", "its prompt may also change that tower"),
    ("visual", "a learner with an image tower", "its prompt may also change that tower"),
)
_OTHER_TOKENS = 3  # [SOS], at least one token of the class name, [EOS]


class ImportRefused(ValueError):
    """The input is not a prompt, or not a prompt for this model."""


def create_import(
    ctx: npt.NDArray[np.float32],
    *,
    prompt_id: str,
    model: ModelCard,
    text_width: int | None,
    class_names: Sequence[str],
    suffix: str,
    created_at: datetime,
    licence: str = "",
    source: str = "",
) -> tuple[PromptCard, Prompt]:
    """Returns the card and the prompt for context vectors, a model and class names.

    Args:
        ctx: float32 (n_ctx, width).
        text_width: the model's, from `find_text_width`.

    Raises:
        ImportRefused: the vectors have another shape, are class-specific, contain NaN or infinity,
            or belong to another model.
        ValueError: the id, the class names or the suffix break a rule of `PromptCard`.
    """
    check_shape(ctx.shape)
    if not np.isfinite(ctx).all():
        raise ImportRefused("Context vectors must be finite numbers; got NaN or infinity.")
    check_new_class_names(tuple(class_names))
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
        licence=licence,
        source=source,
    )
    return card, prompt


def get_own_name(name: str) -> str:
    """Returns a tensor's name in the learner, without what stands before it in a checkpoint."""
    return _BEFORE.sub("", name, count=1)


def find_learner(names: Collection[str]) -> str | None:
    """Names the learner whose prompt is more than a shared context, and why; None if none is known.

    Args:
        names: those of a checkpoint's tensors, from `get_own_name`.
    """
    others = sorted(set(names) - _SHARED) if "ctx" in names else []
    for part, learner, reason in _LEARNERS:
        if any(part in name for name in others):
            return f"{learner}: {reason}"
    return None


def check_learner(names: Collection[str]) -> None:
    """Passes for the tensors of a learner whose prompt is a context shared by all images.

    Raises:
        ImportRefused: there are others, which would be lost. The error names the learner.
    """
    if "ctx" not in names or not (others := sorted(set(names) - _SHARED)):
        return
    if (learner := find_learner(names)) is not None:
        raise ImportRefused(
            f"Expected context vectors alone; got a checkpoint of {learner}. "
            "Learn a shared context (CoOp)."
        )
    raise ImportRefused(
        f"Expected context vectors alone; got further learned tensors, {quote(others[0])} for one. "
        "Without them the prompt would be another. Learn a shared context (CoOp)."
    )


def check_shape(shape: Sequence[int]) -> None:
    """Passes for the shape of context vectors that all classes share.

    Raises:
        ImportRefused: the shape has another number of dimensions, or too many vectors.
    """
    if len(shape) == 3:
        raise ImportRefused(
            f"Expected context vectors shared by all classes, (n_ctx, width); got class-specific "
            f"ones, {tuple(shape)}: one context for each class. Learn a shared context."
        )
    if len(shape) != 2:
        raise ImportRefused(
            f"Expected context vectors of shape (n_ctx, width); got {tuple(shape)}."
        )
    if not (1 <= shape[0] <= MAX_N_CTX and 1 <= shape[1] <= MAX_WIDTH):
        raise ImportRefused(
            f"A prompt has 1 to {MAX_N_CTX} context vectors of width 1 to {MAX_WIDTH}; "
            f"got {shape[0]} of width {shape[1]}."
        )


def check_fits(prompt: Prompt, model: ModelCard, text_width: int | None) -> None:
    """Passes if the model's text tower accepts vectors of this width and number.

    Raises:
        ImportRefused: it does not accept them.
    """
    if text_width == 0:
        raise ImportRefused(f"The model {model.id!r} takes no context vectors.")
    if text_width not in (None, prompt.width):
        raise ImportRefused(
            f"The model {model.id!r} takes context vectors of width {text_width}; got vectors of "
            f"width {prompt.width}, which belong to another model."
        )
    most = model.context_length - _OTHER_TOKENS
    if prompt.n_ctx > most:
        raise ImportRefused(
            f"The model {model.id!r} reads {model.context_length} tokens, so a prompt has at most "
            f"{most} context vectors; got {prompt.n_ctx}."
        )
