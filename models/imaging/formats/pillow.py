"""Decodes PNG, JPEG and WebP with Pillow; what Pillow does silently is noted or refused."""

import io
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.imaging.formats.codestream import read_header
from models.imaging.formats.exif import (
    DAMAGED,
    drop_from_jpeg,
    find_in_jpeg,
    find_orientation,
    is_sound,
)
from models.imaging.formats.png_chunks import drop_chunks
from models.imaging.formats.webp_header import read_webp_header
from models.imaging.pixels.decoded import DecodedImage, Source
from models.imaging.pixels.errors import (
    ImageBroken,
    ImageFormatUnsupported,
    ImageTooLarge,
    PixelsUnsupported,
)
from models.imaging.pixels.grey_image import grey_image
from models.imaging.pixels.greys import Greys
from models.imaging.pixels.limits import ImageLimits
from models.imaging.pixels.notes import ALPHA_ON_BLACK, PROFILE_IGNORED
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
_ORIENTATION = 274


def decode_png(data: bytes, *, window: RequestedWindow, limits: ImageLimits) -> DecodedImage:
    """Decodes a PNG file; 16-bit colour and animations are refused."""
    if data[12:16] != b"IHDR":  # PNG (third edition) 5.6: the first chunk
        raise ImageBroken("Expected a PNG file with a header, got none. Export the image again.")
    depth, colour_type = struct.unpack_from("BB", data, 24)
    if depth == 16 and colour_type != 0:
        raise deep_colour()
    data, notes = drop_chunks(data)
    image = open_image(data, "PNG", limits)
    if getattr(image, "n_frames", 1) > 1:
        raise ImageFormatUnsupported(
            "Expected a still picture, got an animated PNG. Send the frame that is meant."
        )
    return decode_image(image, "png", window=window, notes=notes)


def decode_jpeg(data: bytes, *, window: RequestedWindow, limits: ImageLimits) -> DecodedImage:
    """Decodes a JPEG file, or the first picture of a file with several (MPO)."""
    _check_jpeg(data)
    exif, orientation = find_in_jpeg(data), None
    notes: tuple[str, ...] = ()
    if not is_sound(exif):
        data, orientation, notes = drop_from_jpeg(data), find_orientation(exif), (DAMAGED,)
    image = open_image(data, "JPEG", limits)
    if getattr(image, "n_frames", 1) > 1:
        notes += ("The JPEG file holds several pictures; the first was used.",)
    return decode_image(image, "jpeg", window=window, orientation=orientation, notes=notes)


def _check_jpeg(data: bytes) -> None:
    """Refuses kinds of JPEG that Pillow's decoder does not read, and names them."""
    try:
        header = read_header(data)
    except ImageBroken:
        return  # Pillow tells what is wrong
    if header.kind != "JPEG" or header.precision != 8:
        raise PixelsUnsupported(
            f"Expected a JPEG file with 8 bits per sample, got {header.kind} with "
            f"{header.precision} bits. Convert it to PNG, or send it as DICOM."
        )


def decode_webp(data: bytes, *, window: RequestedWindow, limits: ImageLimits) -> DecodedImage:
    """Decodes a WebP file; animations are refused."""
    header = read_webp_header(data)
    limits.check_frame(width=header.width, height=header.height, bytes_per_pixel=4)
    if header.animated:
        raise ImageFormatUnsupported(
            "Expected a still picture, got an animated WebP. Send the frame that is meant."
        )
    return decode_image(open_image(data, "WEBP", limits), "webp", window=window)


def deep_colour() -> PixelsUnsupported:
    """Returns the refusal of colour whose extra bits would be lost."""
    return PixelsUnsupported(
        "Expected colour of at most 8 bits per channel, got 16 bits or more, which would lose "
        "detail. Convert the image to 8 bits per channel, or send a grey one."
    )


def open_image(data: bytes, format_: str, limits: ImageLimits, page: int = 0) -> Image.Image:
    """Returns the picture, opened and checked for size but not yet decoded."""
    try:
        image = Image.open(io.BytesIO(data), formats=[format_])
        if page:
            image.seek(page)
    except Image.DecompressionBombError:
        raise ImageTooLarge(
            f"Expected at most {limits.max_pixels} pixels, got many more. Scale the image down."
        ) from None
    limits.check_frame(width=image.width, height=image.height, bytes_per_pixel=4)
    return image


def decode_image(
    image: Image.Image,
    source: Source,
    *,
    window: RequestedWindow,
    frame: int = 0,
    frames: int = 1,
    unsigned: bool = False,
    inverted: bool = False,
    orientation: int | None = None,
    notes: tuple[str, ...] = (),
) -> DecodedImage:
    """Decodes an opened picture.

    Args:
        image: from `open_image`.
        source: the file's format.
        window: the requested window.
        frame, frames: which page of how many it is.
        unsigned: whether 32-bit samples have no sign.
        inverted: whether 0 of deep grey means white.
        orientation: as EXIF has it, where it was read before.
        notes: what was decided before.
    """
    image.load()
    if has_profile(image.info.get("icc_profile")):
        notes += (PROFILE_IGNORED,)
    image, more = _upright(image, orientation)
    notes += more
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


def has_profile(profile: object) -> bool:
    """Whether there is a colour profile other than sRGB, which needs none."""
    if not isinstance(profile, bytes) or not profile:
        return False
    return not any(name in profile for name in (b"sRGB", "sRGB".encode("utf-16-be")))


def _upright(image: Image.Image, orientation: int | None) -> tuple[Image.Image, tuple[str, ...]]:
    """Applies the EXIF orientation; for TIFF, Pillow has already done so and removed the tag."""
    if image.format == "TIFF":
        return image, ()
    exif = image.info.get("exif", b"")
    notes: tuple[str, ...] = ()
    if orientation is None and not is_sound(exif):
        orientation, notes = find_orientation(exif), (DAMAGED,)
    if orientation is None:
        orientation = image.getexif().get(_ORIENTATION, 1)
    method = _UPRIGHT.get(orientation)
    if method is None:
        return image, notes
    turned = image.transpose(method)
    turned.info = image.info
    return turned, notes


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
        return _on_black(image), (ALPHA_ON_BLACK,)
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
