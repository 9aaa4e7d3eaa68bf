"""Decodes JPEG 2000 files: greys with their true values, colour through Pillow."""

from openjpeg.utils import decode as decode_openjpeg

from models.imaging.formats.jpeg2000_header import Jpeg2000Header, read_jpeg2000_header
from models.imaging.formats.pillow import decode_image, deep_colour, has_profile, open_image
from models.imaging.pixels.decoded import DecodedImage
from models.imaging.pixels.errors import PixelsUnsupported
from models.imaging.pixels.grey_image import grey_image
from models.imaging.pixels.greys import Greys
from models.imaging.pixels.limits import ImageLimits
from models.imaging.pixels.notes import PROFILE_IGNORED
from models.imaging.pixels.window import (
    RequestedWindow,
    full_scale,
    percentile_scale,
    requested_scale,
)


def decode_jpeg2000(data: bytes, *, window: RequestedWindow, limits: ImageLimits) -> DecodedImage:
    """Decodes a JP2 file or a bare codestream, including HTJ2K."""
    header = read_jpeg2000_header(data)
    limits.check_frame(width=header.width, height=header.height, bytes_per_pixel=4)
    notes = (PROFILE_IGNORED,) if has_profile(header.profile) else ()
    if len(header.components) > 1 or header.palette:
        _check_colour(header)
        image = open_image(data, "JPEG2000", limits)
        return decode_image(image, "jpeg2000", window=window, notes=notes)
    (grey,) = header.components
    if grey.precision > 16:
        raise PixelsUnsupported(
            f"Expected grey values of at most 16 bits, got {grey.precision}. Convert the image."
        )
    greys = Greys(stored=decode_openjpeg(data))  # Pillow would shift 12 bits to 16
    plain = grey.precision <= 8 and not grey.signed
    scale = requested_scale(greys, window) or (
        full_scale(2**grey.precision - 1) if plain else percentile_scale(greys, (0, 100))
    )
    return grey_image(greys, scale, source="jpeg2000", frame=0, frames=1, notes=notes)


def _check_colour(header: Jpeg2000Header) -> None:
    if any(component.precision > 8 for component in header.components):
        raise deep_colour()
    if any(component.signed or component.precision < 8 for component in header.components):
        raise PixelsUnsupported(
            "Expected unsigned colour of 8 bits per channel, got another kind. "
            "Convert the image to RGB."
        )
