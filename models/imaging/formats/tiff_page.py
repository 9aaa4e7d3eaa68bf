"""Reads a TIFF page with tifffile, for the kinds of samples that Pillow lacks."""

import io
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tifffile import COMPRESSION, PHOTOMETRIC, TiffFile, TiffPage

from models.imaging.formats.tiff_segments import (
    APERIO_YCBCR,
    BYTE_CODECS,
    JPEG_2000,
    decode_jpeg_2000,
    get_decompress,
)
from models.imaging.pixels.errors import ImageBroken, PixelsUnsupported
from models.imaging.pixels.limits import ImageLimits

_NO_PREDICTOR, _HORIZONTAL, _FLOATING_POINT = 1, 2, 3


def open_page(data: bytes, index: int) -> TiffPage:
    """Returns one page with its tags; nothing is decoded.

    Raises:
        Exception: of any kind, where the page cannot be read.
    """
    page = TiffFile(io.BytesIO(data)).pages[index]
    assert isinstance(page, TiffPage)
    return page


def name_compression(page: TiffPage) -> str:
    """Returns the compression's name in words."""
    try:
        return COMPRESSION(page.compression).name
    except ValueError:
        return f"number {int(page.compression)}"


def name_photometric(page: TiffPage) -> str:
    """Returns the colour space's name in words."""
    try:
        return PHOTOMETRIC(page.photometric).name
    except ValueError:
        return f"number {int(page.photometric)}"


def name_samples(page: TiffPage) -> str:
    """Returns the kind of its samples in words (TIFF 6.0 section 19)."""
    kinds = {1: "unsigned", 2: "signed", 3: "floating-point", 5: "complex", 6: "complex"}
    return kinds.get(int(page.sampleformat), "untyped")


def read_samples(page: TiffPage, limits: ImageLimits) -> NDArray[Any]:
    """Returns a page's samples, (H, W, samples), in the type that they are stored in.

    Raises:
        PixelsUnsupported: the compression or the kind of samples has no decoder here. The error
            names it.
        ImageError: the page is too large, too small or broken.
    """
    if page.dtype is None or page.dtype.kind not in "buif" or page.imagedepth != 1:
        raise PixelsUnsupported(
            f"Expected a TIFF of whole or floating-point samples, got samples of "
            f"{page.bitspersample} bits in format {page.sampleformat}. Convert the image."
        )
    limits.check_frame(
        width=page.imagewidth,
        height=page.imagelength,
        bytes_per_pixel=page.samplesperpixel * page.dtype.itemsize,
    )
    if page.compression in JPEG_2000:
        return _assemble(page, _decode_images(page))
    if page.compression not in BYTE_CODECS:
        raise PixelsUnsupported(
            f"Expected a TIFF in a compression with a decoder here, got {name_compression(page)} "
            f"with samples of {page.bitspersample} bits. Write it uncompressed or with LZW."
        )
    whole = page.bitspersample in (8, 16, 32, 64)
    known = {_NO_PREDICTOR: True, _HORIZONTAL: whole, _FLOATING_POINT: page.dtype.kind == "f"}
    if not known.get(int(page.predictor)):
        raise PixelsUnsupported(
            f"Expected TIFF samples of {page.bitspersample} bits with a predictor for their kind, "
            f"got predictor {int(page.predictor)}. Write it without one."
        )
    return _assemble(page, _decode_bytes(page))


def _assemble(page: TiffPage, segments: Any) -> NDArray[Any]:
    """Puts strips or tiles together; (H, W, samples)."""
    assert page.dtype is not None
    planes, _, height, width, contiguous = page.shaped  # in each plane, samples lie together
    whole = np.zeros((planes, height, width, contiguous), page.dtype)
    for values, (plane, _, top, left, _) in segments:
        part = values[: height - top, : width - left]
        whole[plane, top : top + part.shape[0], left : left + part.shape[1]] = part
    samples = np.moveaxis(whole, 0, -2).reshape(height, width, planes * contiguous)
    return samples.astype(np.uint8) if samples.dtype == bool else samples


def _list_segments(page: TiffPage) -> Any:
    """Yields the bytes of each segment, where it lies, and its rows and columns."""
    planes, _, height, width, _ = page.shaped
    rows = page.tilelength if page.is_tiled else min(page.rowsperstrip, height)
    columns = page.tilewidth if page.is_tiled else width
    if not (rows > 0 and columns > 0):
        raise _broken()
    down, across = math.ceil(height / rows), math.ceil(width / columns)
    places = zip(page.dataoffsets, page.databytecounts, strict=False)
    found = 0
    for number, (offset, size) in enumerate(places):
        plane, rest = divmod(number, down * across)
        if plane >= planes:
            break
        found += 1
        top, left = rest // across * rows, rest % across * columns
        high = rows if page.is_tiled else min(rows, height - top)
        page.parent.filehandle.seek(offset)
        yield page.parent.filehandle.read(size), (plane, 0, top, left, 0), (high, columns)
    if found < planes * down * across:
        raise _broken()


def _decode_bytes(page: TiffPage) -> Any:
    """Yields the samples of segments whose bytes are compressed, and where they lie."""
    contiguous = page.shaped[4]
    row_bits = page.bitspersample * contiguous
    decompress = get_decompress(int(page.compression), reverse_bits=page.fillorder == 2)
    for segment, place, (rows, columns) in _list_segments(page):
        row_bytes = math.ceil(columns * row_bits / 8)
        content = decompress(segment, rows, row_bytes)
        if page.predictor == _FLOATING_POINT:
            yield _add_up_floats(page, content, rows, columns), place
            continue
        values = _unpack(page, content, rows, columns * contiguous)
        values = values.reshape(rows, columns, contiguous)
        if page.predictor == _HORIZONTAL:
            values = _add_up(values)
        yield values, place


def _unpack(page: TiffPage, content: bytes, rows: int, run: int) -> NDArray[Any]:
    """Returns the samples of `rows` rows with `run` samples each; (rows, run)."""
    assert page.dtype is not None
    bits = page.bitspersample
    order = page.parent.byteorder
    if bits == 24 and page.dtype.kind == "f":
        raise PixelsUnsupported(
            "Expected TIFF samples of 16, 32 or 64 floating-point bits, got 24. Convert the image."
        )
    if bits == 8 * page.dtype.itemsize:
        values = np.frombuffer(content, page.dtype.newbyteorder(order)).reshape(rows, run)
        return values.astype(page.dtype)
    # TIFF 6.0 page 30: samples are packed from the high bit, and rows begin at a byte.
    digits = np.unpackbits(np.frombuffer(content, np.uint8).reshape(rows, -1), axis=1)
    weights = (1 << np.arange(bits - 1, -1, -1, dtype=np.uint64)).astype(np.uint64)
    fields = digits[:, : run * bits].reshape(rows, run, bits).astype(np.uint64) @ weights
    if page.dtype.kind != "i":
        return np.asarray(fields.astype(page.dtype))
    half = 1 << (bits - 1)
    return np.asarray(((fields.astype(np.int64) ^ half) - half).astype(page.dtype))


def _add_up(values: NDArray[Any]) -> NDArray[Any]:
    """Undoes horizontal differencing (TIFF 6.0 section 14), which wraps around."""
    kind = np.dtype(f"u{values.dtype.itemsize}")
    summed = np.cumsum(values.view(kind), axis=1, dtype=kind)
    return np.asarray(summed.view(values.dtype))


def _add_up_floats(page: TiffPage, content: bytes, rows: int, columns: int) -> NDArray[Any]:
    """Undoes the floating-point predictor (Adobe's TIFF technical note 3).

    Of a row, all high bytes lie before all next ones, and each byte is a difference to the one
    before it of the same sample.
    """
    assert page.dtype is not None
    samples, size = page.shaped[4], page.dtype.itemsize
    steps = np.frombuffer(content, np.uint8).reshape(rows, -1, samples)
    summed = np.cumsum(steps, axis=1, dtype=np.uint8).reshape(rows, size, columns * samples)
    whole = np.ascontiguousarray(summed.transpose(0, 2, 1)).view(f">f{size}")
    return np.asarray(whole.reshape(rows, columns, samples).astype(page.dtype))


def _decode_images(page: TiffPage) -> Any:
    """Yields the samples of JPEG 2000 segments, and where they lie."""
    contiguous = page.shaped[4]
    ycbcr = page.compression == APERIO_YCBCR or page.photometric == PHOTOMETRIC.YCBCR
    for segment, place, (rows, columns) in _list_segments(page):
        values = decode_jpeg_2000(
            segment, rows=rows, columns=columns, samples=contiguous, ycbcr=ycbcr
        )
        yield values, place


def _broken() -> ImageBroken:
    return ImageBroken(
        "Expected as many TIFF strips or tiles as the page's size needs, got fewer. "
        "The file may be incomplete; export the image again."
    )
