"""The choice of shots is balanced and fixed by the seed; images are a value."""

import numpy as np
import pytest

from models.datasets.training_images import Shots, TrainingImages, choose_shots

CLASSES = np.array([0, 1, 0, 2, 1, 0, 2, 2, 1, 0, 1, 2, 0], dtype=np.int64)


def create_images(classes=CLASSES) -> TrainingImages:
    pixels = np.arange(len(classes) * 12, dtype=np.uint8).reshape(-1, 3, 2, 2)
    return TrainingImages(pixels=pixels, classes=np.asarray(classes, dtype=np.int64))


@pytest.mark.parametrize("seed", [0, 1, 2**62])
def test_every_class_gives_as_many_images_as_shots_in_their_order(seed):
    chosen = choose_shots(CLASSES, 3, seed)
    assert list(np.bincount(CLASSES[chosen])) == [3, 3, 3]
    assert list(chosen) == sorted(set(chosen))


def test_a_class_is_chosen_from_whatever_the_others_are():
    many = np.repeat([0, 1], 50).astype(np.int64)
    alone = choose_shots(many, 8, 1)
    with_more = choose_shots(np.concatenate([many, np.full(9, 2)]), 8, 1)
    assert list(alone) == list(with_more[:16])


def test_seeds_choose_differently_and_every_image_now_and_then():
    many = np.repeat([0, 1], 20).astype(np.int64)
    choices = [tuple(choose_shots(many, 4, seed)) for seed in range(60)]
    assert len(set(choices)) > 50
    # An image is left out of 60 choices of 4 in 20 with probability 0.8^60 = 1.5e-6.
    assert {int(at) for choice in choices for at in choice} == set(range(40))


def test_the_choice_never_changes():
    """Frozen: cards say which seed, so the same seed is the same images in every version."""
    assert list(choose_shots(np.repeat([0, 1], 10).astype(np.int64), 3, 1)) == [1, 6, 8, 15, 16, 17]


def test_too_few_images_and_one_class_alone_are_refused():
    with pytest.raises(ValueError, match=r"needs 5 images.*class 1 has 4"):
        choose_shots(CLASSES, 5, 0)
    with pytest.raises(ValueError, match=r"needs 1 images.*class 1 has 0"):
        choose_shots(np.array([0, 0, 2]), 1, 0)
    with pytest.raises(ValueError, match="at least two classes"):
        choose_shots(np.zeros(9, dtype=np.int64), 3, 0)


def test_the_digest_is_that_of_pixels_classes_and_order():
    images = create_images()
    other_pixels = images.pixels.copy()
    other_pixels[0, 0, 0, 0] += 1
    others = (
        TrainingImages(pixels=other_pixels, classes=CLASSES),
        TrainingImages(pixels=images.pixels, classes=CLASSES[::-1]),
        TrainingImages(pixels=images.pixels[::-1], classes=CLASSES[::-1]),
    )
    assert create_images().sha256 == images.sha256
    assert len({images.sha256, *(other.sha256 for other in others)}) == 4


def test_images_are_not_changed_from_outside():
    pixels, classes = np.zeros((2, 3, 2, 2), dtype=np.uint8), np.array([0, 1])
    images = TrainingImages(pixels=pixels, classes=classes)
    pixels[0, 0, 0, 0], classes[0] = 5, 1
    assert (images.pixels[0, 0, 0, 0], images.classes[0]) == (0, 0)
    with pytest.raises(ValueError, match="read-only"):
        images.pixels[0, 0, 0, 0] = 5


@pytest.mark.parametrize(
    ("pixels", "classes", "said"),
    [
        (np.zeros((2, 3, 2, 2)), np.array([0, 1]), "uint8"),
        (np.zeros((2, 1, 2, 2), dtype=np.uint8), np.array([0, 1]), "shape"),
        (np.zeros((2, 3, 2, 4), dtype=np.uint8), np.array([0, 1]), "shape"),
        (np.zeros((2, 3, 2, 2), dtype=np.uint8), np.array([0, 1, 1]), "int64 of shape"),
        (np.zeros((2, 3, 2, 2), dtype=np.uint8), np.array([0.0, 1.0]), "int64"),
        (np.zeros((2, 3, 2, 2), dtype=np.uint8), np.array([-1, 1]), "counted from 0"),
        (np.zeros((0, 3, 2, 2), dtype=np.uint8), np.zeros(0, dtype=np.int64), "at least one"),
    ],
)
def test_images_that_are_none_are_refused(pixels, classes, said):
    with pytest.raises(ValueError, match=said):
        TrainingImages(pixels=pixels, classes=classes)


def test_an_image_that_cannot_be_used_is_replaced_by_the_next_of_its_class():
    classes = np.repeat([0, 1], 10).astype(np.int64)
    shots = Shots(classes, 3, 1)
    bad = {int(shots.chosen[0]), int(shots.chosen[-1])}
    read = []
    for at in shots:
        if at in bad:
            shots.replace(at, OSError(f"image {at}"))
        else:
            read.append(at)
    assert sorted(read) == shots.chosen.tolist()
    assert set(shots.unusable) == bad
    assert np.bincount(classes[shots.chosen]).tolist() == [3, 3]
    first = set(choose_shots(classes, 3, 1).tolist())
    next_ones = set(choose_shots(classes, 4, 1).tolist()) - first
    assert set(shots.chosen.tolist()) == (first - bad) | next_ones


def test_the_first_error_is_raised_where_nothing_can_replace_an_image():
    shots = Shots(np.repeat([0, 1], 3).astype(np.int64), 2, 0)
    lost = shots.chosen[:2].tolist()
    shots.replace(lost[0], OSError("first"))
    with pytest.raises(OSError, match="first"):
        shots.replace(lost[1], OSError("second"))


def test_many_images_that_cannot_be_used_end_the_choice():
    shots = Shots(np.repeat([0, 1], 100).astype(np.int64), 2, 0)

    def refuse_all():
        for at in shots:
            shots.replace(at, OSError("image"))

    with pytest.raises(OSError, match="image"):
        refuse_all()
    assert len(shots.unusable) == 5
