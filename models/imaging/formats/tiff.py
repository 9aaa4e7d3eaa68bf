"""Decodes TIFF pages: with Pillow what it shows as it is, the rest from the samples themselves."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tifffile import TiffPage

from models.imaging.formats.pillow import decode_image, deep_colour, has_profile, open_image
from models.imaging.formats.tiff_directories import count_pages
from models.imaging.formats.tiff_page import (
    name_compression,
    name_photometric,
    name_samples,
    open_page,
    read_samples,
)
from models.imaging.formats.tiff_segments import BYTE_CODECS, JPEG_2000, NONE, PACK_BITS
from models.imaging.pixels.decoded import DecodedImage
from models.imaging.pixels.errors import ImageBroken, ImageError, PixelsUnsupported
from models.imaging.pixels.frames import choose_frame
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

# TIFF 6.0 section 8 and its supplements.
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _YCBCR = 0, 1, 2, 3, 6
_SIGNED = 2
_SEPARATE = 2  # PlanarConfiguration: each sample in a plane of its own
_ASSOCIATED, _UNASSOCIATED = 1, 2  # section 18: alpha
_PILLOW = {1, 2, 3, 4, 5, 6, 7, 8, 32771, 32773, 32809, 32946, 34676, 34677, 34925, 50000}
_ICC_PROFILE, _ORIENTATION = 34675, 274


def decode_tiff(
    data: bytes, *, frame: int | None, window: RequestedWindow, limits: ImageLimits
) -> DecodedImage:
    """Decodes one page of a TIFF file; deep colour is refused."""
    frames = count_pages(data, whole=True)
    if frames == 0:
        raise ImageBroken("Expected a TIFF file with a page, got none. Export the image again.")
    index = choose_frame(frame, frames)
    page = _find_page(data, index)
    if page is not None:
        _refuse(page)
    if page is not None and not _is_pillows(page):
        return _decode_samples(page, index, frames, window=window, limits=limits)
    try:
        image = open_image(data, "TIFF", limits, page=index)
    except ImageError:
        raise
    except Exception:  # Pillow lacks a mode for such samples, or the file is broken
        if page is None:
            raise
        return _decode_samples(page, index, frames, window=window, limits=limits)
    return decode_image(
        image,
        "tiff",
        window=window,
        frame=index,
        frames=frames,
        unsigned=page is None or page.sampleformat == 1,
        inverted=page is not None and page.photometric == _WHITE_IS_ZERO,
    )


def _find_page(data: bytes, index: int) -> TiffPage | None:
    """Returns the page, or None if tifffile cannot read it."""
    try:
        page = open_page(data, index)
    except Exception:  # a damaged directory makes tifffile raise anything
        return None
    return page if page.imagewidth and page.imagelength else None


def _refuse(page: TiffPage) -> None:
    """Refuses what would be shown wrong, and names it."""
    bits = page.bitspersample
    if isinstance(bits, tuple):
        raise PixelsUnsupported(
            f"Expected TIFF samples of one width, got {bits} bits. Convert the image."
        )
    grey = page.photometric <= _BLACK_IS_ZERO and page.samplesperpixel == 1 + len(page.extrasamples)
    if page.samplesperpixel > 1 and bits > 8 and not grey:
        raise deep_colour()
    plain = page.compression == NONE
    if plain and page.photometric == _YCBCR and page.is_subsampled:
        raise PixelsUnsupported(
            "Expected YCbCr without subsampling in an uncompressed TIFF, got subsampled colours. "
            "Convert the image to RGB."
        )
    if page.compression not in _PILLOW | set(JPEG_2000):
        raise PixelsUnsupported(
            f"Expected a TIFF in a compression with a decoder here, got {name_compression(page)}. "
            "Write it uncompressed or with LZW."
        )


def _is_pillows(page: TiffPage) -> bool:
    """Whether Pillow, where it has a mode for the samples, shows them as they are meant.

    It takes signed bytes for unsigned ones, swaps the bytes of compressed big-endian samples twice,
    ignores the predictor of uncompressed and of PackBits ones, and lacks some orders of bits and
    bytes, alpha in a plane of its own, and uncompressed YCbCr in planes.
    """
    if page.compression in JPEG_2000 or (page.parent.is_bigtiff and page.parent.byteorder == ">"):
        return False
    planes = page.planarconfig == _SEPARATE and page.samplesperpixel > 1
    grey_alpha = page.photometric <= _BLACK_IS_ZERO and page.samplesperpixel > 1
    if page.compression not in BYTE_CODECS:
        return not (planes and grey_alpha)
    apart = planes and (bool(page.extrasamples) or page.photometric == _YCBCR)
    unusual = page.sampleformat == _SIGNED or page.fillorder != 1
    predicted = page.compression in (NONE, PACK_BITS) and page.predictor != 1
    return page.bitspersample <= 8 and not (grey_alpha or apart or unusual or predicted)


def _decode_samples(
    page: TiffPage, index: int, frames: int, *, window: RequestedWindow, limits: ImageLimits
) -> DecodedImage:
    """Shows a page from its samples."""
    samples = _turn(read_samples(page, limits), page)  # (H, W, samples)
    extra = len(page.extrasamples)
    colours, alpha = samples[:, :, : samples.shape[2] - extra], samples[:, :, -extra:]
    notes: tuple[str, ...] = ()
    kind = page.extrasamples[0] if extra else 0
    if kind in (_ASSOCIATED, _UNASSOCIATED):
        if samples.dtype.kind not in "bu":
            raise PixelsUnsupported(
                f"Expected alpha beside unsigned samples, got {name_samples(page)} ones. "
                "Write the image without alpha."
            )
        colours, notes = _put_on_black(colours, alpha[:, :, 0], page, kind), (ALPHA_ON_BLACK,)
    if _ICC_PROFILE in page.tags and has_profile(page.tags[_ICC_PROFILE].value):
        notes += (PROFILE_IGNORED,)
    if page.photometric <= _BLACK_IS_ZERO and colours.shape[2] == 1:
        return _show_greys(colours[:, :, 0], page, index, frames, window=window, notes=notes)
    notes += refuse_window_on_colour(window)
    return DecodedImage(
        pixels=_show_colours(colours, page),
        source="tiff",
        frame=index,
        frames=frames,
        notes=notes,
    )


def _turn(samples: NDArray[Any], page: TiffPage) -> NDArray[Any]:
    """Turns the picture upright (TIFF 6.0 page 36)."""
    tag = page.tags.get(_ORIENTATION)
    orientation = tag.value if tag is not None else 1
    if orientation in (5, 6, 7, 8):
        samples = samples.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        samples = samples[:, ::-1]
    if orientation in (3, 4, 7, 8):
        samples = samples[::-1]
    return samples


def _put_on_black(
    colours: NDArray[Any], alpha: NDArray[Any], page: TiffPage, kind: int
) -> NDArray[Any]:
    """Composites colours on black; associated alpha has already multiplied them (section 18).

    Where 0 means white, the result is what `_show_greys` inverts: black is the largest value.
    """
    most = 2**page.bitspersample - 1
    inverted = page.photometric == _WHITE_IS_ZERO
    if kind == _ASSOCIATED:
        below = alpha[:, :, None]
        return np.minimum(colours, below) + (most - below) if inverted else colours
    if page.bitspersample > 16:
        raise PixelsUnsupported(
            f"Expected alpha of at most 16 bits, got {page.bitspersample} bits. Write the image "
            "without alpha."
        )
    levels = (most - colours if inverted else colours).astype(np.uint64)
    product: NDArray[np.uint64] = 2 * levels * alpha[:, :, None] + most
    shown = np.asarray(product // (2 * most)).astype(colours.dtype)
    return most - shown if inverted else shown


def _show_greys(
    values: NDArray[Any],
    page: TiffPage,
    index: int,
    frames: int,
    *,
    window: RequestedWindow,
    notes: tuple[str, ...],
) -> DecodedImage:
    greys = Greys(stored=values, inverted=page.photometric == _WHITE_IS_ZERO)
    plain = values.dtype == np.uint8
    scale = requested_scale(greys, window) or (
        full_scale(2**page.bitspersample - 1) if plain else percentile_scale(greys, (0, 100))
    )
    return grey_image(greys, scale, source="tiff", frame=index, frames=frames, notes=notes)


def _show_colours(colours: NDArray[Any], page: TiffPage) -> NDArray[np.uint8]:
    """Returns colours as RGB, (H, W, 3)."""
    if page.photometric == _PALETTE and colours.shape[2] == 1 and page.colormap is not None:
        return _look_up(colours[:, :, 0], page.colormap)
    ycbcr = page.photometric == _YCBCR
    three = colours.shape[2] == 3 and colours.dtype == np.uint8
    if not three or not (page.photometric == _RGB or ycbcr):
        raise PixelsUnsupported(
            f"Expected a TIFF of one grey sample, a palette, RGB or YCbCr, got "
            f"{name_photometric(page)} with {colours.shape[2]} {name_samples(page)} sample(s) of "
            f"{page.bitspersample} bits. Convert the image to RGB."
        )
    if ycbcr and page.compression not in JPEG_2000:  # whose stream decides
        size = (colours.shape[1], colours.shape[0])
        return np.asarray(Image.frombytes("YCbCr", size, colours.tobytes()).convert("RGB"))
    if page.bitspersample == 8:
        return colours
    most = 2**page.bitspersample - 1
    scaled: NDArray[np.uint32] = (colours.astype(np.uint32) * 510 + most) // (2 * most)
    return scaled.astype(np.uint8)


def _look_up(values: NDArray[Any], palette: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Returns palette colours, (H, W, 3); a palette of 8 bits is used as it is (section 5)."""
    entries = palette if palette.max() <= 0xFF else palette >> 8
    places = np.clip(values.astype(np.int64), 0, palette.shape[1] - 1)
    return np.moveaxis(entries.astype(np.uint8)[:, places], 0, -1)
