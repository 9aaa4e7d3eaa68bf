"""A crop is a part of the image at full size."""

import torch

from models.learning.augmentation import sample_crops


def create_ramp(count: int, size: int = 64) -> torch.Tensor:
    """Red rises from left to right, green from top to bottom, both linearly; blue is still."""
    steps = (torch.arange(size) + 0.5) / size
    red = steps.expand(size, size)
    ramp = torch.stack([red, red.T, torch.full((size, size), 0.25)])
    return ramp.expand(count, -1, -1, -1)


def measure(crops: torch.Tensor, channel: int, step: int) -> torch.Tensor:
    """How much of the image's width (3) or height (2) each crop spans, signed."""
    size = crops.shape[-1]
    inner = crops[:, channel].narrow(step - 1, size // 4, size // 2 + 1)
    first, last = inner.select(step - 1, 0), inner.select(step - 1, size // 2)
    return (last - first).mean(dim=1) * size / (size // 2)


def test_crops_span_what_the_paper_says():
    """Width, height and mirror are read off a ramp; shares are within four standard errors."""
    count = 4000
    crops = sample_crops(create_ramp(count), torch.Generator().manual_seed(0), smallest_area=0.08)
    widths, heights = measure(crops, 0, 3).clamp(-1, 1), measure(crops, 1, 2)
    mirrored = (widths < 0).float().mean()
    assert abs(mirrored - 0.5) < 4 * 0.5 / count**0.5
    assert (heights > 0).all()
    areas, ratios = widths.abs() * heights, widths.abs() / heights
    assert areas.min() > 0.079
    assert areas.max() <= 1.001
    assert ((ratios > 0.74) & (ratios < 1.35)).all()
    # U(0.08, 1) has the mean 0.54; a side that ends at the edge takes a little off.
    assert 0.50 < areas.mean() < 0.54 + 4 * 0.27 / count**0.5


def test_no_crop_is_smaller_than_the_smallest():
    crops = sample_crops(create_ramp(500), torch.Generator().manual_seed(2), smallest_area=0.5)
    areas = measure(crops, 0, 3).abs() * measure(crops, 1, 2)
    assert 0.49 < areas.min() < 0.6


def test_crops_stay_within_the_image_and_each_has_its_own_place():
    crops = sample_crops(create_ramp(500), torch.Generator().manual_seed(1), smallest_area=0.08)
    assert crops.min() >= 0
    assert crops.max() <= 1
    assert torch.allclose(crops[:, 2], torch.tensor(0.25), atol=1e-6)
    centres = crops[:, :2].mean(dim=(2, 3))
    assert len(torch.unique(centres, dim=0)) == 500
    assert centres.min() < 0.25
    assert centres.max() > 0.75


def test_the_same_generator_crops_the_same():
    ramp = create_ramp(9)
    first, second, other = (
        sample_crops(ramp, torch.Generator().manual_seed(seed), smallest_area=0.08)
        for seed in (3, 3, 4)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
