"""`preprocess` against open_clip's own transform, pixel by pixel."""

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from PIL import Image

from models.catalogue import load_catalogue
from models.catalogue.cards import Preprocessing
from models.imaging import parse_image, preprocess
from models.vlm._imports import get_open_clip

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
Resize = Literal["shortest", "squash"]
Interpolation = Literal["bicubic", "bilinear"]


def reference(pixels: np.ndarray, card: Preprocessing) -> np.ndarray:
    """open_clip's evaluation transform as far as it works on PIL images, uint8 (3, size, size)."""
    transform = get_open_clip().image_transform(
        card.size,
        is_train=False,
        mean=card.mean,
        std=card.std,
        resize_mode=card.resize,
        interpolation=card.interpolation,
    )
    image = Image.fromarray(pixels)
    for step in transform.transforms:
        if type(step).__name__.endswith("ToTensor"):
            return np.asarray(image).transpose(2, 0, 1)
        image = step(image)
    raise AssertionError("open_clip's transform has no ToTensor")


def check(pixels: np.ndarray, size: int, resize: Resize, interpolation: Interpolation) -> None:
    card = Preprocessing(size=size, resize=resize, interpolation=interpolation, mean=MEAN, std=STD)
    prepared = preprocess(pixels, card)
    assert prepared.shape == (3, size, size)
    assert prepared.flags.c_contiguous
    assert (prepared == reference(pixels, card)).all()


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("resize", ["shortest", "squash"])
@pytest.mark.parametrize(
    "shape", [(224, 224), (64, 64), (301, 224), (225, 226), (100, 333), (333, 100), (8, 500)]
)
def test_random_images_are_prepared_as_open_clip_does(
    shape: tuple[int, int], resize: Resize, interpolation: Interpolation
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype(np.uint8)
    check(pixels, 224, resize, interpolation)
    check(pixels, 33, resize, interpolation)


@pytest.mark.parametrize("name", ["bccd_cells", "kermany_cxr", "lc25000_clean", "mednist"])
def test_real_images_are_prepared_as_open_clip_does(data_folder: Path, name: str) -> None:
    suffixes = {".png", ".jpg", ".jpeg"}
    files = sorted(
        path for path in (data_folder / name).rglob("*") if path.suffix.lower() in suffixes
    )
    assert files
    for path in files[:: len(files) // 6]:
        image = parse_image(path.read_bytes())
        with Image.open(path) as opened:
            assert (image.pixels == np.asarray(opened.convert("RGB"))).all()
        check(image.pixels, 224, "shortest", "bicubic")


def test_a_read_only_picture_can_be_prepared_and_another_shape_is_refused() -> None:
    card = Preprocessing(size=8, mean=MEAN, std=STD)
    pixels = np.zeros((9, 9, 3), np.uint8)
    pixels.setflags(write=False)
    assert not preprocess(pixels, card).any()
    for wrong in (np.zeros((9, 9), np.uint8), np.zeros((9, 9, 3), np.float32)):
        with pytest.raises(ValueError, match="uint8"):
            preprocess(wrong, card)


@pytest.mark.parametrize("name", ["bccd_cells", "kermany_cxr", "lc25000_clean"])
@pytest.mark.parametrize("model_id", ["plip", "pubmedclip", "quiltnet-b16", "quiltnet-b32"])
def test_known_clips_see_real_images_as_open_clip_does(
    data_folder: Path, model_id: str, name: str
) -> None:
    card = load_catalogue().describe(model_id).preprocessing
    files = sorted(path for path in (data_folder / name / "test").rglob("*.*g"))
    for path in files[:: len(files) // 4]:
        pixels = parse_image(path.read_bytes()).pixels
        assert (preprocess(pixels, card) == reference(pixels, card)).all(), path.name
