"""Whether context vectors are those of a tuned prompt, a little changed."""

import numpy as np

from models.prompts.prompt import Prompt

_REACH = 4.0
_LEAST_COSINE = 0.5  # directions of unrelated vectors have one near 0


def lies_around(prompt: Prompt, tuned: Prompt, start: Prompt) -> bool:
    """Whether vectors lie around tuned ones, by the l2 distance over all of them.

    They do if they are nearer to the tuned vectors than to those that tuning started from, and
    within four times the distance that tuning moved or beyond it in much the same direction: a
    prompt far from both, in another direction, is another prompt.
    """
    if not prompt.ctx.shape == tuned.ctx.shape == start.ctx.shape:
        return False
    moved, here = _difference(tuned, start), _difference(prompt, start)
    to_tuned, length = np.linalg.norm(here - moved), np.linalg.norm(moved)
    if to_tuned >= np.linalg.norm(here):
        return False
    along = np.vdot(here, moved) >= _LEAST_COSINE * np.linalg.norm(here) * length
    return bool(to_tuned <= _REACH * length or along)


def _difference(one: Prompt, other: Prompt) -> np.ndarray:
    return one.ctx.astype(np.float64) - other.ctx
