"""From an untrusted file to the image that is certified. No torch; used by app and command line."""

from typing import Literal

from models.cards import ModelCard
from models.imaging import parse_image, preprocess
from worker.contract import InputImage
from worker.images_store import Image, image_sha256

Window = tuple[float, float] | Literal["auto"] | None


def prepare_image(
    data: bytes, card: ModelCard, *, frame: int | None = None, window: Window = None
) -> tuple[Image, InputImage]:
    """The model's 8-bit input, uint8 (3, H, W), and how it was read.

    Raises:
        models.imaging.ImageError: the file is no image this service can certify.
    """
    decoded = parse_image(data, frame=frame, window=window)
    image = preprocess(decoded.pixels, card.preprocessing)
    described = InputImage(
        sha256=image_sha256(image),
        height=image.shape[1],
        width=image.shape[2],
        source=decoded.source,
        window=decoded.window,
        window_origin=decoded.window_origin,
        frame=decoded.frame,
        frames=decoded.frames,
        notes=decoded.notes,
    )
    return image, described
