"""A random crop at full size, mirrored in half of all cases, as in the paper."""

import math

import torch
from torch import Tensor
from torch.nn import functional

WIDEST = 4 / 3


def sample_crops(pixels: Tensor, generator: torch.Generator, *, smallest_area: float) -> Tensor:
    """Returns random resized crops with random flips; float32 (B, 3, S, S) to the same shape.

    Values in [0, 1] stay in [0, 1]. Each image keeps a share of its area drawn from
    U(smallest_area, 1), at a ratio of width to height drawn from exp(U(log 3/4, log 4/3)), as in
    torchvision's RandomResizedCrop. A side that would extend past the image is cut at its edge.
    Interpolation is bilinear.
    """
    count = len(pixels)

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, generator=generator)

    area = uniform(smallest_area, 1)
    ratio = uniform(-math.log(WIDEST), math.log(WIDEST)).exp()
    width, height = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)  # (B,)
    right, down = uniform(-1, 1) * (1 - width), uniform(-1, 1) * (1 - height)
    mirror = 1 - 2 * (uniform(0, 1) < 0.5).float()
    none = torch.zeros(count)
    rows = [torch.stack([mirror * width, none, right]), torch.stack([none, height, down])]
    boxes = torch.stack(rows).permute(2, 0, 1)  # (B, 2, 3)
    grid = functional.affine_grid(boxes, list(pixels.shape), align_corners=False)
    return functional.grid_sample(pixels, grid, padding_mode="border", align_corners=False)
