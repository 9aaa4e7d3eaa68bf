"""From an untrusted file to the image that is certified. No torch; used by app and command line."""

from functools import cache
from typing import Literal

from models.catalogue.cards import ModelCard
from models.imaging import Decoder, DecodingBounds, PreparedImage
from worker.contract import InputImage
from worker.contract.image import Image, image_sha256
from worker.settings import SharedSettings

Window = tuple[float, float] | Literal["auto"] | None


def create_decoder(settings: SharedSettings, *, processes: int = 1) -> Decoder:
    """A decoder within the bounds of the settings; whoever makes one closes it."""
    return Decoder(
        processes=processes,
        bounds=get_bounds(settings),
        refuse_burned_in=settings.burned_in_text == "refuse",
    )


def get_bounds(settings: SharedSettings) -> DecodingBounds:
    """What decoding one image may take."""
    return DecodingBounds(
        timeout_s=settings.decode_timeout_s, memory_bytes=settings.decode_memory_mb * 10**6
    )


@cache
def _get_own_decoder() -> Decoder:
    """That of a program without one; it ends with the program."""
    return create_decoder(SharedSettings())


def prepare_image(
    data: bytes,
    card: ModelCard,
    *,
    frame: int | None = None,
    window: Window = None,
    decoder: Decoder | None = None,
) -> tuple[Image, InputImage]:
    """The model's 8-bit input, uint8 (3, H, W), and how it was read.

    Raises:
        models.imaging.ImageError: the file is no image this service can certify.
        models.imaging.DecodingUnavailable: no image can be decoded at the moment.
    """
    decoder = decoder or _get_own_decoder()
    prepared = decoder.prepare(data, card.preprocessing, frame=frame, window=window)
    return prepared.input, _describe(prepared)


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
