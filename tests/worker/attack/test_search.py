"""The search by itself, against a classifier of which the nearest change is known."""

import math
from decimal import Decimal

import numpy as np
import pytest

from worker.attack.grid import distance, lies_within, move, squared_levels
from worker.attack.search import Missed, Ray, find_ray
from worker.attack.victim import Glance

SHAPE = (3, 12, 12)


class Plane:
    """A `Victim`: class 1 where w·x is at least b, over 8-bit images x."""

    at_once = 5

    def __init__(self, weight: np.ndarray, threshold: float) -> None:
        self.weight, self.threshold = weight, threshold
        self.seen: list[np.ndarray] = []

    def _answer(self, image: np.ndarray) -> int:
        self.seen.append(image)
        return int((self.weight * image).sum() >= self.threshold)

    def glance(self, image, class_index):
        sign = 1.0 if class_index == 1 else -1.0
        return Glance(gradient=sign * self.weight, answer=self._answer(image))

    def answer(self, images):
        return tuple(map(self._answer, images))


def create_plane(*, levels: float, seed: int = 0) -> tuple[Plane, np.ndarray]:
    """A plane at this distance from a grey image, which is of class 0."""
    rng = np.random.default_rng(seed)
    image = rng.integers(60, 200, SHAPE).astype(np.uint8)
    weight = rng.standard_normal(SHAPE)
    threshold = float((weight * image).sum()) + levels * float(np.linalg.norm(weight))
    return Plane(weight, threshold), image


@pytest.mark.parametrize(("levels", "share"), [(6.0, 1.45), (40.0, 1.08), (300.0, 1.05)])
def test_the_change_found_is_as_near_as_the_plane(levels, share):
    """No image of the other class is nearer than the plane; the search comes close to that.

    Near by, the grid is coarse: few of the pixels can change by a whole level.
    """
    plane, image = create_plane(levels=levels)
    found = find_ray(plane, image, 0, start=12.0, steps=30)
    assert isinstance(found, Ray)
    changed = found.at(found.levels)
    assert plane._answer(changed) == 1
    assert levels <= math.sqrt(squared_levels(changed, image)) <= share * levels


def test_every_image_tried_is_an_8_bit_image():
    plane, image = create_plane(levels=40.0)
    find_ray(plane, image, 0, start=12.0, steps=10)
    assert plane.seen
    assert all(one.dtype == np.uint8 and one.shape == SHAPE for one in plane.seen)


def test_a_class_without_another_is_missed_openly():
    plane, image = create_plane(levels=1e9)
    found = find_ray(plane, image, 0, start=12.0, steps=4)
    assert isinstance(found, Missed)
    assert found.farthest > 12.0


def test_a_move_is_never_longer_than_asked_and_hardly_shorter():
    rng = np.random.default_rng(1)
    image = rng.integers(60, 200, SHAPE).astype(np.uint8)
    direction = rng.standard_normal(SHAPE)
    for levels in (1.0, 3.0, 10.0, 77.0, 400.0):
        length = math.sqrt(squared_levels(move(image, direction, levels), image))
        assert length <= levels
        assert length >= 0.8 * levels


def test_a_move_uses_its_length_where_plain_rounding_would_undo_it():
    """A change of less than half a level everywhere rounds to nothing; a move of it does not."""
    image = np.full(SHAPE, 128, dtype=np.uint8)
    direction = np.random.default_rng(2).standard_normal(SHAPE)
    levels = 0.1 * math.sqrt(direction.size)
    plain = np.rint(image + direction * levels / np.linalg.norm(direction)).astype(np.uint8)
    moved = move(image, direction, levels)

    def gain(changed: np.ndarray) -> float:
        return float((direction * (changed.astype(float) - image)).sum())

    assert squared_levels(plain, image) == 0
    assert gain(moved) > 0.8 * levels


def test_a_move_along_equal_slopes_takes_as_many_pixels_as_fit():
    """All of them would be too far, and none would be no move."""
    image = np.full(SHAPE, 128, dtype=np.uint8)
    moved = move(image, np.ones(SHAPE), 10.0)
    changed = np.argwhere(moved != image)
    assert len(changed) == 100
    assert np.all(moved[moved != image] == 129)
    assert set(changed[:, 0]) == {0, 1, 2}, "spread over the channels"


def test_a_move_stays_within_the_range_of_a_picture():
    image = np.zeros(SHAPE, dtype=np.uint8)
    moved = move(image, -np.ones(SHAPE), 100.0)
    assert squared_levels(moved, image) == 0


def test_a_distance_is_rounded_up_and_compared_exactly():
    image = np.zeros(SHAPE, dtype=np.uint8)
    changed = image.copy()
    changed[0, 0, 0] = 1
    assert distance(changed, image) == Decimal("0.003922")  # 1/255 = 0.00392156...
    assert lies_within(changed, image, Decimal(1) / 255 + Decimal("1e-20"))
    assert not lies_within(changed, image, Decimal("0.003921"))
