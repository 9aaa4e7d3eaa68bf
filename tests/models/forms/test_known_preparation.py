"""How each known model's images are prepared: pixel by pixel as its published code does."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image

from models.catalogue import load_catalogue
from models.imaging import preprocess
from models.vlm._imports import get_open_clip, get_transformers
from models.vlm.vlm import PixelNormalisation

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
Prepare = Callable[[Image.Image], torch.Tensor]


def prepare_by_open_clip(size: int) -> Prepare:
    """What create_model_and_transforms returns for a ViT of this size."""
    prepare: Prepare = get_open_clip().image_transform(size, is_train=False)
    return prepare


def prepare_by_transformers(kind: str, **config: object) -> Prepare:
    """A processor of transformers that resizes by Pillow, as all did before version 5."""
    processor = getattr(get_transformers(), kind)(**config)
    return lambda image: torch.tensor(np.asarray(processor(image)["pixel_values"][0]))


def prepare_keep() -> Prepare:
    """The transform of KEEP's own page."""
    get_open_clip()  # makes torchvision importable
    from torchvision import transforms

    return transforms.Compose(
        [
            transforms.Resize(size=224, interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(size=(224, 224)),
            transforms.ToTensor(),
            transforms.Normalize(*IMAGENET),
        ]
    )


PUBLISHED: dict[str, Callable[[], Prepare]] = {
    "pathgen-clip": lambda: prepare_by_open_clip(224),
    "dermlip-b16": lambda: prepare_by_open_clip(224),
    "bmc-clip": lambda: prepare_by_open_clip(224),
    "unimed-clip-b16": lambda: prepare_by_open_clip(224),
    "unimed-clip-l14": lambda: prepare_by_open_clip(336),
    "monet": lambda: prepare_by_transformers(
        "CLIPImageProcessorPil", image_mean=IMAGENET[0], image_std=IMAGENET[1]
    ),
    "xrayclip-b16": lambda: prepare_by_transformers(
        "BlipImageProcessorPil", size={"height": 512, "width": 512}
    ),
    "xrayclip-l14": lambda: prepare_by_transformers(
        "BlipImageProcessorPil", size={"height": 512, "width": 512}
    ),
    "keep": prepare_keep,
}


@pytest.mark.parametrize("model_id", PUBLISHED)
@pytest.mark.parametrize("shape", [(301, 224), (120, 400), (600, 600)], ids=str)
def test_images_are_prepared_as_the_published_code_does(model_id, shape):
    """One pixel that differs by one level would move a value by a hundredth."""
    card = load_catalogue().describe(model_id).preprocessing
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype(np.uint8)
    found = torch.from_numpy(preprocess(pixels, card).astype(np.int16))[None]
    expected = PUBLISHED[model_id]()(Image.fromarray(pixels))
    normalised = PixelNormalisation(card, torch.device("cpu"))(found)[0]
    torch.testing.assert_close(normalised, expected.float(), atol=1e-5, rtol=0)
