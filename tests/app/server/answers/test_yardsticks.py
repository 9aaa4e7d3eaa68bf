"""Everyday changes of a certified image: whole grey levels, with their exact lengths."""

import math
from collections.abc import Callable
from io import BytesIO

import numpy as np
import pytest
from fastapi.testclient import TestClient
from httpx2 import Response
from PIL import Image
from redis import Redis

from app.server.answers.yardsticks import CHANGES, change_image, list_yardsticks
from worker.attack.grid import distance
from worker.store import keyspace

Post = Callable[..., Response]


@pytest.fixture(params=[(3, 16, 16), (3, 7, 40), (3, 1, 1)], ids=["square", "wide", "one pixel"])
def image(request: pytest.FixtureRequest) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, request.param, dtype=np.uint8)


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_an_image_of_the_same_form_and_the_same_one_each_time(
    image: np.ndarray, name: str
) -> None:
    before = image.copy()
    changed = change_image(image, name)
    assert (changed.shape, changed.dtype) == (image.shape, np.uint8)
    assert np.array_equal(change_image(image, name), changed)
    assert np.array_equal(image, before)


def test_a_length_is_that_of_the_integers_and_never_too_short(image: np.ndarray) -> None:
    for found in list_yardsticks(image).yardsticks:
        steps = change_image(image, found.id).astype(int) - image.astype(int)
        exact = math.sqrt((steps**2).sum()) / 255
        assert exact <= found.l2 < exact + 2e-6
        assert found.largest_step == np.abs(steps).max()
        assert found.changed_pixels == (steps != 0).any(axis=0).sum()


def test_lengths_of_known_changes() -> None:
    grey = np.full((3, 20, 30), 100, dtype=np.uint8)
    found = {each.id: each for each in list_yardsticks(grey).yardsticks}
    assert found["one-level-brighter"].l2 == pytest.approx(math.sqrt(3 * 600) / 255, abs=1e-6)
    assert found["dead-pixel"].l2 == pytest.approx(math.sqrt(3) * 100 / 255, abs=1e-6)
    assert found["black-mark"].l2 == pytest.approx(5 * math.sqrt(3) * 100 / 255, abs=1e-6)
    assert (found["black-mark"].changed_pixels, found["half-pixel-shift"].l2) == (25, 0)
    assert found["jpeg-75"].changed_pixels == 0  # a flat picture survives


def test_no_mark_elsewhere_is_longer(image: np.ndarray) -> None:
    """So whoever is covered against the one that is shown is covered against all."""
    _, height, width = image.shape
    for name, side in (("dead-pixel", 1), ("black-mark", 5)):
        longest = distance(image, change_image(image, name))
        for top in range(max(1, height - side + 1)):
            for left in range(max(1, width - side + 1)):
                other = image.copy()
                other[:, top : top + side, left : left + side] = 0
                assert distance(image, other) <= longest


def test_what_is_black_or_white_stays_so_under_another_window() -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(1, 16, 16).repeat(3, axis=0)
    ends = (ramp == 0) | (ramp == 255)
    for name in (each for each in CHANGES if each.startswith("window")):
        assert np.array_equal(change_image(ramp, name)[ends], ramp[ends])
    higher = change_image(ramp, "window-centre-up")
    assert (higher[~ends] <= ramp[~ends]).all()
    assert distance(ramp, higher) > 0


def test_pictures_are_those_that_were_measured(
    client: TestClient, post: Post, redis: Redis
) -> None:
    job = post().json()
    address = job["links"]["self"]
    pixels = np.asarray(Image.open(BytesIO(client.get(f"{address}/input.png").content)))
    found = client.get(f"{address}/yardsticks").json()["yardsticks"]
    assert [each["id"] for each in found] == list(CHANGES)
    for each in found:
        answer = client.get(f"{address}/yardsticks/{each['id']}.png")
        assert answer.headers["content-type"] == "image/png"
        changed = np.asarray(Image.open(BytesIO(answer.content)))
        assert float(distance(pixels, changed)) == each["l2"]
    assert client.get(f"{address}/yardsticks/sunshine.png").status_code == 422
    redis.delete(keyspace.image(job["input"]["sha256"]))
    assert client.get(f"{address}/yardsticks").json()["code"] == "input_image_expired"
