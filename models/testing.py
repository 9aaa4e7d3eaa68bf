"""A test model whose certificates can be checked against geometry; no torch.

`write_linear_model` writes a card and weights that the whole service can serve. The class of an
image is the side of a plane on which it lies, so the distance to the nearest image of the other
class is known exactly (`LinearModel.distance`).
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save

from models.catalogue.cards import ModelCard, load_card

_WEIGHTS = "linear.safetensors"


@dataclass(frozen=True, kw_only=True)
class LinearModel:
    """The plane w·x = b over integer pixels x: class 0 lies below it, class 1 above.

    `weight` is int64 (3, size, size), not all zero. `threshold` is half an odd integer, so no image
    lies on the plane.
    """

    weight: npt.NDArray[np.int64]
    threshold: float
    class_names: tuple[str, str] = ("below", "above")

    def __post_init__(self) -> None:
        shape = self.weight.shape
        if len(shape) != 3 or shape[0] != 3 or shape[1] != shape[2]:
            raise ValueError(f"The weight must have the shape (3, size, size); got {shape}.")
        if not np.issubdtype(self.weight.dtype, np.integer) or not self.weight.any():
            raise ValueError("The weight must hold integers that are not all zero.")
        if self.threshold % 1 != 0.5:
            raise ValueError(f"The threshold must be half an odd integer; got {self.threshold}.")
        first, second = self.class_names
        if first in second or second in first:
            raise ValueError(f"Neither class name may contain the other; got {self.class_names}.")

    @property
    def size(self) -> int:
        """Height and width of an image in pixels."""
        return int(self.weight.shape[1])

    def margin(self, pixels: npt.NDArray[np.integer]) -> float:
        """Returns w·x - b exactly; `pixels` is (3, size, size)."""
        return int((self.weight.astype(np.int64) * pixels.astype(np.int64)).sum()) - self.threshold

    def class_index(self, pixels: npt.NDArray[np.integer]) -> int:
        """Returns 0 below the plane and 1 above it."""
        return int(self.margin(pixels) > 0)

    def distance(self, pixels: npt.NDArray[np.integer]) -> float:
        """Returns the l2 distance from an image to the plane, in pixels scaled to [0, 1]."""
        squares = int((self.weight.astype(np.int64) ** 2).sum())
        return abs(self.margin(pixels)) / (255 * math.sqrt(squares))


def create_linear_model(*, size: int = 8, seed: int = 0) -> LinearModel:
    """Creates a plane with small random weights through the middle of the grey images."""
    weight = np.random.default_rng(seed).integers(-3, 4, size=(3, size, size))
    return LinearModel(weight=weight, threshold=float(weight.sum()) * 127 + 0.5)


def write_linear_model(
    folder: Path,
    model: LinearModel,
    *,
    model_id: str = "linear",
    batch_size: Mapping[str, int] | None = None,
) -> ModelCard:
    """Writes `<folder>/<model_id>/card.toml` and the weights beside it; returns the card.

    `models.catalogue.catalogue.load_catalogue` can then read `folder`.
    """
    content = save(
        {
            "weight": model.weight.astype(np.float64),
            "threshold": np.array(model.threshold, dtype=np.float64),
        }
    )
    home = folder / model_id
    home.mkdir(parents=True)
    (home / _WEIGHTS).write_bytes(content)
    text = _CARD.format(
        model_id=json.dumps(model_id),
        size=model.size,
        class_names=json.dumps(model.class_names),
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
        cpu=(batch_size or {}).get("cpu", 64),
        cuda=(batch_size or {}).get("cuda", 256),
    )
    (home / "card.toml").write_text(text, encoding="utf-8")
    return load_card(home / "card.toml")


_CARD = """\
id = {model_id}
name = "Linear toy"
description = "Two half-spaces of pixels. For tests: its certificates can be checked by geometry."
intended_use = "Tests."
licence = "Apache-2.0"
source = "models.testing"
architecture = "linear"
context_length = 77
class_names = {class_names}
template = "The image lies {{}} the plane."
batch_size = {{ cpu = {cpu}, cuda = {cuda} }}
precision = {{ cpu = "fp32", cuda = "fp32" }}

[preprocessing]
size = {size}
mean = [0.0, 0.0, 0.0]
std = [1.0, 1.0, 1.0]

[[files]]
name = "linear.safetensors"
sha256 = "{sha256}"
size_bytes = {size_bytes}
"""
