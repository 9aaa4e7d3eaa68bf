"""Tuned prompts on other images, counted by hand."""

import numpy as np
import pytest

from worker.evaluation.others import OtherImages

CLASSES = np.array([0, 0, 1, 1, 2])


def test_a_prompt_is_judged_on_all_images_but_its_own():
    """The first prompt is right everywhere; the others answer class 0 whatever they see."""
    stuck = np.zeros(5, dtype=np.int64)
    found = OtherImages.of([CLASSES, stuck, stuck, stuck, stuck], CLASSES)
    # On four others, class 0 is right once for an image of class 0, and else twice.
    assert found.accuracy == pytest.approx((1 + 1 / 4 + 3 * 2 / 4) / 5)
    assert found.lowest_accuracy == 1 / 4
    # The first prompt's commonest answer is class 1, twice among four.
    assert found.commonest == pytest.approx((2 / 4 + 4 * 1) / 5)
    assert found.largest_commonest == 1
    assert found.prompts == 5


@pytest.mark.parametrize("count", [0, 4, 6])
def test_each_image_has_one_prompt(count):
    with pytest.raises(ValueError, match="zip"):
        OtherImages.of([CLASSES] * count, CLASSES)


def test_one_image_has_no_others():
    with pytest.raises(ValueError, match="at least two images"):
        OtherImages.of([CLASSES[:1]], CLASSES[:1])
