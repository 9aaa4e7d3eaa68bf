"""Pictures of the radius are changes of that length."""

from typing import Any

import numpy as np
from asking import certify


def read_canvas(page: Any, place: int) -> np.ndarray:
    """The pixels of one of the three pictures, as integers (H, W, 3)."""
    found = page.evaluate(
        """(place) => {
          const canvas = document.querySelectorAll(".three canvas")[place];
          const {data, width, height} =
            canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
          return {data: [...data], width, height};
        }""",
        place,
    )
    pixels = np.array(found["data"], dtype=np.int64)
    return pixels.reshape(found["height"], found["width"], 4)[..., :3]


def test_pictures_of_the_radius_are_as_long_as_it_and_never_longer(
    tabs: Any, service: Any, xray: str
) -> None:
    page = tabs.open()
    certification = certify(page, xray)
    page.wait_for_selector(".three canvas")
    found = service.get(f"certifications/{certification}")
    radii = [c["radius"] for c in found["certificates"] if c["outcome"] == "certified"]
    assert len(radii) == 2
    for place, radius in enumerate(radii):
        page.get_by_label("Radius", exact=True).select_option(str(place))
        clean, whole = read_canvas(page, 0), read_canvas(page, 1)
        l2 = np.sqrt(((whole - clean) ** 2).sum()) / 255
        assert 0.99 * radius < l2 <= radius
        for side in (1, 3, 7):
            page.get_by_label("Size of the patch").fill(str(side))
            patch = read_canvas(page, 2) - clean
            l2 = np.sqrt((patch**2).sum()) / 255
            assert 0 < l2 <= radius
            assert np.ptp(np.argwhere(patch.any(axis=2)), axis=0).max() < side
            said = page.locator(".three figcaption").nth(2).inner_text()
            assert f"l2 distance {np.floor(l2 * 1e6) / 1e6:.6f}" in said
