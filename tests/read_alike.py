"""The law of class names: a model refuses two, or its text tower tells them apart."""

from itertools import combinations

import torch

from models.prompts.prompt import Prompt
from models.vlm.base_classifier import create_base_classifier, create_prompted_classifier
from models.vlm.vlm import VLM

HARD = (
    *("HER2+", "HER2-", "her2", "+", "-", "stage I", "stage I.", "stage II", "T1 N0", "T1N0"),
    *("naevus", "Naevus", "nævus", "x & y", "x &amp; y", "lung", "lung ", "lungs", "痣", "黑"),
)
OTHERS = ("normal", "opacity", "effusion", "heart", "no lung")
"""With five rows or more, the features of equal tokens may differ in their last bits."""
_APART = 1e-4  # the same tokens differ by 1e-6 at most, those of random weights by far more


def find_refused(vlm: VLM) -> set[tuple[str, str]]:
    """The pairs of hard names that are refused, under a template and under context vectors alike.

    Asserts of all others that their features lie apart.
    """
    ctx = torch.randn(3, vlm.text_width, generator=torch.Generator().manual_seed(1))
    prompt, refused = Prompt(ctx=ctx.numpy(), suffix=" in it."), set()
    for pair in combinations(HARD, 2):
        names = (*OTHERS, *pair)
        sentences = {
            _describe(lambda n=names: create_base_classifier(vlm, "an {} in it.", n)),
            _describe(lambda n=names: create_prompted_classifier(vlm, prompt, n)),
        }
        if sentences == {None}:
            continue
        (sentence,) = sentences
        assert f"reads {pair[0]!r} and {pair[1]!r} alike, as the same tokens" in sentence
        refused.add(pair)
    return refused


def _describe(create) -> str | None:
    """What a refusal says; None: the last two names lie apart."""
    try:
        features = create().text_features
    except ValueError as error:
        return str(error)
    assert (features[-1] - features[-2]).norm() > _APART
    return None
