"""Models that no longer ship. Certificates show a model's id, so it is never given to another."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Retirement:
    """Why a model went, what to use instead, and the prompts that went with it.

    `prompts` holds, for the id of each prompt that shipped for the model, the id of the prompt that
    takes its place.
    """

    model_id: str
    reason: str
    successor: str
    prompts: Mapping[str, str]

    def __str__(self) -> str:
        return (
            f"The model {self.model_id!r} was retired: {self.reason} Use the model "
            f"{self.successor!r}; prompts learned on {self.model_id!r} must be learned again."
        )


_BUNDLED = Retirement(
    model_id="bundled",
    reason="its text tower ignored the words around a class name, so prompts had no effect.",
    successor="bundled-2",
    prompts={
        "bundled-bccd-cells": "bundled-2-bccd-cells",
        "bundled-kermany-cxr": "bundled-2-kermany-cxr",
        "bundled-mednist": "bundled-2-mednist",
    },
)
_RETIRED = (_BUNDLED,)


def find_retirement(model_id: str) -> Retirement | None:
    """Returns the retirement of a model, or None if it was not retired."""
    return next((one for one in _RETIRED if one.model_id == model_id), None)


def find_prompt_retirement(prompt_id: str) -> Retirement | None:
    """Returns the retirement with which a shipped prompt went, or None."""
    return next((one for one in _RETIRED if prompt_id in one.prompts), None)
