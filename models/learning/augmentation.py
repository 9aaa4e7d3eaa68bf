"""The paper's augmentation: a random part of the image at full size, mirrored half the time."""

import math

import torch
from torch import Tensor
from torch.nn import functional

SMALLEST_AREA = 0.08
WIDEST = 4 / 3


def sample_crops(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Random resized crops with a random flip, float32 (B, 3, S, S) to the same; values in [0, 1]
    stay there.

    Each image keeps a share of its area from U(0.08, 1) with a ratio of width to height from
    exp(U(log 3/4, log 4/3)), as torchvision's RandomResizedCrop; a side that would leave the image
    ends at its edge. Bilinear.
    """
    count = len(pixels)

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, generator=generator)

    area = uniform(SMALLEST_AREA, 1)
    ratio = uniform(-math.log(WIDEST), math.log(WIDEST)).exp()
    width, height = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)  # (B,)
    right, down = uniform(-1, 1) * (1 - width), uniform(-1, 1) * (1 - height)
    mirror = 1 - 2 * (uniform(0, 1) < 0.5).float()
    none = torch.zeros(count)
    rows = [torch.stack([mirror * width, none, right]), torch.stack([none, height, down])]
    boxes = torch.stack(rows).permute(2, 0, 1)  # (B, 2, 3)
    grid = functional.affine_grid(boxes, list(pixels.shape), align_corners=False)
    return functional.grid_sample(pixels, grid, padding_mode="border", align_corners=False)
