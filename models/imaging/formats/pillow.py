"""Decodes PNG, JPEG, TIFF and WebP with Pillow; what Pillow does silently is noted or refused."""

import io
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from models.imaging.formats.codestream import jpeg_segments
from models.imaging.formats.tiff_directories import count_pages
from models.imaging.formats.webp_header import read_webp_header
from models.imaging.pixels.decoded import DecodedImage, Source
from models.imaging.pixels.errors import (
    ImageBroken,
    ImageFormatUnsupported,
    ImageTooLarge,
    PixelsUnsupported,
)
from models.imaging.pixels.frames import choose_frame
from models.imaging.pixels.grey_image import grey_image
from models.imaging.pixels.greys import Greys
from models.imaging.pixels.limits import ImageLimits
from models.imaging.pixels.window import (
    RequestedWindow,
    full_scale,
    percentile_scale,
    refuse_window_on_colour,
    requested_scale,
)

_DEEP_GREY = {"I;16", "I;16L", "I;16B", "I", "F"}
_COLOUR = {"P", "PA", "LA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr"}
_STRIP = 256  # rows
_ALPHA = {"LA", "PA", "RGBA", "RGBa"}
# EXIF 2.3, tag Orientation: the transposition that turns the stored picture upright.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION, _BITS_PER_SAMPLE, _SAMPLES_PER_PIXEL = 274, 258, 277
_PHOTOMETRIC, _SAMPLE_FORMAT = 262, 339


def decode_png(data: bytes, *, window: RequestedWindow, limits: ImageLimits) -> DecodedImage:
    """Decodes a PNG file; 16-bit colour and animations are refused."""
    if data[12:16] != b"IHDR":  # PNG (third edition) 5.6: the first chunk
        raise ImageBroken("Expected a PNG file with a header, got none. Export the image again.")
    depth, colour_type = struct.unpack_from("BB", data, 24)
    if depth == 16 and colour_type != 0:
        raise deep_colour()
    image = _open(data, "PNG", limits)
    if getattr(image, "n_frames", 1) > 1:
        raise ImageFormatUnsupported(
            "Expected a still picture, got an animated PNG. Send the frame that is meant."
        )
    return _decode(image, "png", window=window)


def decode_jpeg(data: bytes, *, window: RequestedWindow, limits: ImageLimits) -> DecodedImage:
    """Decodes a JPEG file, or the first picture of a file with several (MPO)."""
    exif = [body[6:] for marker, body in jpeg_segments(data) if _is_exif(marker, body)]
    if exif:
        _check_exif(b"".join(exif))
    image = _open(data, "JPEG", limits)
    notes: tuple[str, ...] = ()
    if getattr(image, "n_frames", 1) > 1:
        notes = ("The JPEG file holds several pictures; the first was used.",)
    return _decode(image, "jpeg", window=window, notes=notes)


def decode_webp(data: bytes, *, window: RequestedWindow, limits: ImageLimits) -> DecodedImage:
    """Decodes a WebP file; animations are refused."""
    header = read_webp_header(data)
    limits.check_frame(width=header.width, height=header.height, bytes_per_pixel=4)
    if header.animated:
        raise ImageFormatUnsupported(
            "Expected a still picture, got an animated WebP. Send the frame that is meant."
        )
    return decode_still(data, "WEBP", "webp", window=window, limits=limits)


def decode_still(
    data: bytes, format_: str, source: Source, *, window: RequestedWindow, limits: ImageLimits
) -> DecodedImage:
    """Decodes a file with one picture in a format that needs no further checks."""
    return _decode(_open(data, format_, limits), source, window=window)


def decode_tiff(
    data: bytes, *, frame: int | None, window: RequestedWindow, limits: ImageLimits
) -> DecodedImage:
    """Decodes one page of a TIFF file; deep colour is refused."""
    if data.startswith(b"MM\0+"):
        raise ImageFormatUnsupported(
            "Expected BigTIFF in little-endian order, got big-endian, which has no decoder here. "
            "Write it as classic TIFF."
        )
    frames = count_pages(data)
    if frames == 0:
        raise ImageBroken("Expected a TIFF file with a page, got none. Export the image again.")
    image = _open(data, "TIFF", limits, page=lambda: choose_frame(frame, frames))
    assert isinstance(image, TiffImageFile)
    tags = image.tag_v2
    bits = tags.get(_BITS_PER_SAMPLE, (1,))
    if (len(bits) > 1 or tags.get(_SAMPLES_PER_PIXEL, 1) > 1) and max(bits) > 8:
        raise deep_colour()
    return _decode(
        image,
        "tiff",
        window=window,
        frame=image.tell(),
        frames=frames,
        unsigned=tags.get(_SAMPLE_FORMAT, (1,))[0] == 1,
        inverted=tags.get(_PHOTOMETRIC) == 0,  # WhiteIsZero; Pillow inverts 8 bits, not 16
    )


def deep_colour() -> PixelsUnsupported:
    """Returns the refusal of colour whose extra bits would be lost."""
    return PixelsUnsupported(
        "Expected colour of at most 8 bits per channel, got 16 bits or more, which would lose "
        "detail. Convert the image to 8 bits per channel, or send a grey one."
    )


def _is_exif(marker: int, body: bytes) -> bool:
    return marker == 0xE1 and body.startswith(b"Exif\0\0")


def _check_exif(exif: bytes) -> None:
    """Raises ImageBroken if an EXIF block claims more data than it has."""
    count_pages(exif.removeprefix(b"Exif\0\0"))


def _open(
    data: bytes, format_: str, limits: ImageLimits, page: Callable[[], int] = lambda: 0
) -> Image.Image:
    """Returns the picture, opened and checked for size but not yet decoded."""
    try:
        image = Image.open(io.BytesIO(data), formats=[format_])
        if index := page():
            image.seek(index)
    except Image.DecompressionBombError:
        raise ImageTooLarge(
            f"Expected at most {limits.max_pixels} pixels, got many more. Scale the image down."
        ) from None
    limits.check_frame(width=image.width, height=image.height, bytes_per_pixel=4)
    return image


def _decode(
    image: Image.Image,
    source: Source,
    *,
    window: RequestedWindow,
    frame: int = 0,
    frames: int = 1,
    unsigned: bool = False,
    inverted: bool = False,
    notes: tuple[str, ...] = (),
) -> DecodedImage:
    image.load()
    image = _upright(image)
    if image.mode in _DEEP_GREY:
        if "transparency" in image.info:
            notes += ("The transparent grey value was ignored.",)
        greys = Greys(stored=_stored(image, unsigned=unsigned), inverted=inverted)
        # Without a window in the file, the full range of values is used and nothing is cut off.
        scale = requested_scale(greys, window) or percentile_scale(greys, (0, 100))
    elif image.mode in ("1", "L") and "transparency" not in image.info:
        greys = Greys(stored=np.asarray(image.convert("L")))
        scale = requested_scale(greys, window) or full_scale(255)
    else:
        notes += refuse_window_on_colour(window)
        pixels, more = _colour(image)  # (H, W, 3)
        return DecodedImage(
            pixels=pixels, source=source, frame=frame, frames=frames, notes=notes + more
        )
    return grey_image(greys, scale, source=source, frame=frame, frames=frames, notes=notes)


def _upright(image: Image.Image) -> Image.Image:
    """Applies the EXIF orientation; for TIFF, Pillow has already done so and removed the tag."""
    if image.format == "TIFF":
        return image
    if "exif" in image.info:
        _check_exif(image.info["exif"])
    method = _UPRIGHT.get(image.getexif().get(_ORIENTATION, 1))
    if method is None:
        return image
    turned = image.transpose(method)
    turned.info = image.info
    return turned


def _stored(image: Image.Image, *, unsigned: bool) -> NDArray[Any]:
    stored = np.asarray(image)  # (H, W)
    # Pillow keeps 32-bit unsigned TIFF samples in signed integers.
    return stored.view(np.uint32) if unsigned and stored.dtype == np.int32 else stored


def _colour(image: Image.Image) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Returns RGB pixels, (H, W, 3), and notes on what was decided."""
    if image.mode not in _COLOUR | {"1", "L"}:
        raise PixelsUnsupported(
            "Expected grey, palette, RGB, CMYK or YCbCr pixels, got another colour space. "
            "Convert the image to RGB."
        )
    if image.mode in _ALPHA or "transparency" in image.info:
        return _on_black(image), ("Alpha composited on black.",)
    notes: tuple[str, ...] = ()
    if image.mode == "CMYK":
        notes = ("CMYK converted to RGB without a colour profile.",)
    return np.asarray(image.convert("RGB")), notes


def _on_black(image: Image.Image) -> NDArray[np.uint8]:
    """Composites the picture on black, (H, W, 3), in strips to save five times its memory."""
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    for top in range(0, image.height, _STRIP):
        bottom = min(top + _STRIP, image.height)
        strip = image.crop((0, top, image.width, bottom)).convert("RGBA")
        black = Image.new("RGBA", strip.size, (0, 0, 0, 255))
        pixels[top:bottom] = np.asarray(Image.alpha_composite(black, strip).convert("RGB"))
    return pixels
