"""Looks for the nearest 8-bit image with another answer, by gradients; knows no model.

The descent decouples direction and norm (DDN; Rony et al., CVPR 2019): each step turns the change
against the gradient, then shortens it where the answer changed and lengthens it where it did not.
Along the best direction found, the distance is then narrowed down by answers alone.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from worker.attack.grid import Direction, move, squared_levels
from worker.attack.victim import Victim
from worker.contract.image import Image

_FIRST_TURN, _LAST_TURN = 1.0, 0.05
_LENGTHEN_UNTIL_FOUND = 1.5
_STEP = 0.1
_REACH = (1.0, 1.15, 1.35, 1.6, 2.0, 2.5, 3.2)
_PRECISION = 0.03  # of the distance


@dataclass(frozen=True, kw_only=True)
class Ray:
    """A direction in which the answer changes, and the distance in levels at which it did."""

    image: Image
    direction: Direction
    levels: float
    answer: int

    def at(self, levels: float) -> Image:
        """The 8-bit image at a distance in this direction."""
        return move(self.image, self.direction, levels)


@dataclass(frozen=True, kw_only=True)
class Missed:
    """No change was found up to this distance, in levels."""

    farthest: float


def find_ray(
    victim: Victim, image: Image, class_index: int, *, start: float, steps: int
) -> Ray | Missed:
    """The direction of the smallest change found, narrowed down to `_PRECISION` of its distance.

    Args:
        victim: what is attacked.
        image: the image, uint8 (3, H, W).
        class_index: the answer that is to change.
        start: the distance in levels at which the descent begins.
        steps: the number of steps, each with a gradient, after a first gradient.
    """
    best: tuple[float, Direction] | None = None
    last: tuple[float, Direction] | None = None
    for levels, direction, changed in descend(victim, image, class_index, start, steps):
        last = (levels, direction)
        if changed and (best is None or levels < best[0]):
            best = last
    assert last is not None, "there is at least one step"
    levels, direction = best or last
    return _narrow(victim, image, class_index, direction, levels)


def descend(
    victim: Victim, image: Image, class_index: int, start: float, steps: int
) -> Iterator[tuple[float, Direction, bool]]:
    """Yields the changes tried: their length in levels, their direction, and whether it changed."""
    glance = victim.glance(image, class_index)
    direction = _against(glance.gradient)
    norm, found = start, False
    for step in range(steps):
        candidate = move(image, direction, norm)
        levels = math.sqrt(squared_levels(candidate, image))
        glance = victim.glance(candidate, class_index)
        changed = glance.answer != class_index
        yield levels, direction, changed
        found = found or changed
        turn = _turn(step, steps)
        direction = _unit(direction + turn * _against(glance.gradient))
        if changed:
            norm *= 1 - _STEP
        else:
            norm *= 1 + _STEP if found else _LENGTHEN_UNTIL_FOUND
        norm = min(norm, 255.0 * math.sqrt(image.size))


def _turn(step: int, steps: int) -> float:
    """How far a step turns: from `_FIRST_TURN` to `_LAST_TURN` along a cosine."""
    share = (1 + math.cos(math.pi * step / steps)) / 2
    return _LAST_TURN + (_FIRST_TURN - _LAST_TURN) * share


def _against(gradient: Direction) -> Direction:
    return _unit(-gradient)


def _unit(vector: Direction) -> Direction:
    length = float(np.linalg.norm(vector))
    return vector / length if length > 0 else np.full_like(vector, 1 / math.sqrt(vector.size))


def _narrow(
    victim: Victim, image: Image, class_index: int, direction: Direction, levels: float
) -> Ray | Missed:
    """The nearest changed image in a direction, by answers alone."""

    def ask(distances: list[float]) -> tuple[float, int] | None:
        """The smallest of the distances at which another answer is clear, with that answer."""
        for first in range(0, len(distances), victim.at_once):
            part = distances[first : first + victim.at_once]
            answers = victim.answer(np.stack([move(image, direction, one) for one in part]))
            for one, answer in zip(part, answers, strict=True):
                if answer is not None and answer != class_index:
                    return one, answer
        return None

    asked = [factor * levels for factor in _REACH]
    if (found := ask(asked)) is None:
        reached = move(image, direction, asked[-1])
        return Missed(farthest=math.sqrt(squared_levels(reached, image)))
    (changed, answer), unchanged = found, _below(found[0], asked)
    while changed - unchanged > _PRECISION * changed:
        asked = np.linspace(unchanged, changed, victim.at_once + 2)[1:-1].tolist()
        if (found := ask(asked)) is None:
            unchanged = asked[-1]
        else:
            (changed, answer), unchanged = found, _below(found[0], [unchanged, *asked])
    return Ray(image=image, direction=direction, levels=changed, answer=answer)


def _below(distance: float, distances: list[float]) -> float:
    """The largest of the distances below one of them, or 0."""
    return max((one for one in distances if one < distance), default=0.0)
