"""From an untrusted file to the image that is certified. No torch; used by app and command line."""

from typing import Literal

from models.cards import ModelCard
from models.imaging import PreparedImage, prepare
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
    prepared = prepare(data, card.preprocessing, frame=frame, window=window)
    return prepared.input, _describe(prepared)


def preview_image(
    data: bytes, card: ModelCard, *, side: int, frame: int | None = None, window: Window = None
) -> PreparedImage:
    """What `prepare_image` makes of a file, with a picture of it whose longest side is `side`.

    Raises:
        models.imaging.ImageError: as `prepare_image`.
    """
    return prepare(data, card.preprocessing, frame=frame, window=window, picture_side=side)


def _describe(prepared: PreparedImage) -> InputImage:
    return InputImage(
        sha256=image_sha256(prepared.input),
        height=prepared.input.shape[1],
        width=prepared.input.shape[2],
        source=prepared.source,
        window=prepared.window,
        window_origin=prepared.window_origin,
        frame=prepared.frame,
        frames=prepared.frames,
        notes=prepared.notes,
    )
