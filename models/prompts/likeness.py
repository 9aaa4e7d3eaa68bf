"""Whether context vectors are those of a tuned prompt, a little changed."""

import numpy as np

from models.prompts.prompt import Prompt

_REACH = 4.0


def lies_around(prompt: Prompt, tuned: Prompt, start: Prompt) -> bool:
    """Whether vectors lie around tuned ones, by the l2 distance over all of them.

    They do if they are nearer to the tuned vectors than to those that tuning started from, and
    within four times the distance that tuning moved: a prompt far from both is another prompt.
    """
    if not prompt.ctx.shape == tuned.ctx.shape == start.ctx.shape:
        return False
    to_tuned = _distance(prompt, tuned)
    return to_tuned < _distance(prompt, start) and to_tuned <= _REACH * _distance(tuned, start)


def _distance(one: Prompt, other: Prompt) -> float:
    return float(np.linalg.norm(one.ctx.astype(np.float64) - other.ctx))
