"""Pixels whose bits are not where HighBit and BitsStored say, and frames that are miscounted."""

import struct
from typing import Any

import numpy as np
import pytest
from dicom_files import dicom, grey
from pydicom import uid
from pydicom.encaps import encapsulate
from pydicom.pixels.encoders.base import get_encoder

from models.imaging import ImageBroken, PixelsUnsupported, parse_image

WINDOW = (2048.0, 4096.0)
SYNTAXES = [
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.RLELossless,
]


def cells(values: np.ndarray, syntax: str, **elements: Any) -> bytes:
    """A file of these cells of 8 or 16 bits, whatever the elements say about them."""
    if syntax == uid.RLELossless:
        encoded = get_encoder(syntax).encode(
            values.tobytes(),
            rows=values.shape[0],
            columns=values.shape[1],
            samples_per_pixel=1,
            bits_allocated=8 * values.itemsize,
            bits_stored=8 * values.itemsize,
            pixel_representation=int(values.dtype.kind == "i"),
            photometric_interpretation="MONOCHROME2",
            number_of_frames=1,
            encoding_plugin="pydicom",
        )
        return dicom(values, syntax=syntax, pixel_data=encapsulate([encoded]), **elements)
    order = ">" if syntax == uid.ExplicitVRBigEndian else "<"
    swapped = values.astype(values.dtype.newbyteorder(order))
    return dicom(swapped, syntax=syntax, **elements)


def ramp(dtype: type) -> np.ndarray:
    """Values of 12 bits, of which some are odd; (16, 16)."""
    values = np.arange(256).reshape(16, 16) * 16 + 1
    return (values - 2048 if np.dtype(dtype).kind == "i" else values).astype(dtype)


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("dtype", [np.uint16, np.int16])
@pytest.mark.parametrize(
    ("shift", "high", "note"),
    [
        (4, 15, "4 bits higher"),
        (2, 13, "2 bits higher"),
        (0, 15, "use the low 12 bits"),
        (0, 10, "cannot be"),
        (0, 16, "cannot be"),
    ],
)
def test_stored_bits_are_found_where_the_cells_have_them(
    syntax: str, dtype: type, shift: int, high: int, note: str
) -> None:
    values = ramp(dtype)
    window = (0.0, 4096.0) if values.min() < 0 else WINDOW
    sound = parse_image(cells(values, syntax, BitsStored=12, HighBit=11), window=window)
    assert sound.notes == ()
    moved = cells(values << shift, syntax, BitsStored=12, HighBit=high)
    image = parse_image(moved, window=window)
    assert (grey(image) == grey(sound)).all()
    assert len(image.notes) == 1
    assert note in image.notes[0]


def test_bits_that_fit_neither_place_are_refused() -> None:
    values = ramp(np.uint16) << 2 | 1
    with pytest.raises(PixelsUnsupported, match="up to bit 15"):
        parse_image(dicom(values, BitsStored=12, HighBit=15))


@pytest.mark.parametrize("stored", [0, 17])
def test_impossible_bits_stored_are_those_allocated(stored: int) -> None:
    image = parse_image(dicom(ramp(np.uint16), BitsStored=stored, HighBit=15), window=WINDOW)
    assert (grey(image) == grey(parse_image(dicom(ramp(np.uint16)), window=WINDOW))).all()
    assert f"BitsStored is {stored}, which cannot be; 16 was assumed." in image.notes


@pytest.mark.parametrize("syntax", [uid.JPEGLossless, uid.JPEGLosslessSV1])
@pytest.mark.parametrize("stored", [1, 4, 7])
def test_lossless_jpeg_of_fewer_than_eight_bits(syntax: str, stored: int) -> None:
    """GDCM ends its process if it is told of them."""
    body = flat_lossless_jpeg(16, 16, stored)
    data = dicom(
        np.zeros((16, 16), np.uint8),
        syntax=syntax,
        pixel_data=encapsulate([body]),
        BitsStored=stored,
        HighBit=stored - 1,
    )
    middle = np.full((16, 16), 2 ** (stored - 1), np.uint8)  # where prediction begins
    plain = dicom(middle, BitsStored=stored, HighBit=stored - 1)
    assert (grey(parse_image(data, window=(64, 128))) > 0).all()
    same = grey(parse_image(data, window=(64, 128))) == grey(parse_image(plain, window=(64, 128)))
    assert same.all()


def flat_lossless_jpeg(rows: int, columns: int, precision: int) -> bytes:
    """ITU-T T.81 annex H: all differences but the first are 0, each a code of one bit."""
    table = b"\xff\xc4" + struct.pack(">HB", 2 + 1 + 16 + 2, 0) + bytes([1, 1] + [0] * 14) + b"\0\1"
    frame = b"\xff\xc3" + struct.pack(">HBHHB", 11, precision, rows, columns, 1) + b"\1\x11\0"
    scan = b"\xff\xda" + struct.pack(">HB", 8, 1) + b"\1\0\1\0\0"
    return b"\xff\xd8" + table + frame + scan + bytes(rows * columns // 8) + b"\xff\xd9"


# Frames.


@pytest.mark.parametrize("text", ["1A", " 1 frame", "1,0"])
def test_number_of_frames_that_only_begins_with_a_number(text: str) -> None:
    data = dicom(ramp(np.uint16), NumberOfFrames="1")
    at = data.index(b"\x28\0\x08\0IS")
    value = text.encode() + b" " * (len(text) % 2)
    data = data[:at] + b"\x28\0\x08\0IS" + struct.pack("<H", len(value)) + value + data[at + 10 :]
    image = parse_image(data)
    assert image.frames == 1
    assert image.notes[0] == "NumberOfFrames is not a number; it was read as 1."


def test_number_of_frames_without_a_digit_is_refused_by_name() -> None:
    data = dicom(ramp(np.uint16), NumberOfFrames="12").replace(b"IS\x02\x0012", b"IS\x02\x00XA")
    with pytest.raises(ImageBroken, match="NumberOfFrames"):
        parse_image(data)


@pytest.mark.parametrize("offsets", [[], [0], [0, 0]])
def test_empty_fragments_count_as_none(offsets: list[int]) -> None:
    pictures = [np.full((8, 8), 40, np.uint8), np.full((8, 8), 200, np.uint8)]
    fragments = [rle(picture) for picture in pictures] + [b""]
    table = struct.pack(f"<{len(offsets)}I", *offsets)
    body = b"".join(
        b"\xfe\xff\0\xe0" + struct.pack("<I", len(part)) + part for part in (table, *fragments)
    )
    data = dicom(pictures[0], syntax=uid.RLELossless, pixel_data=body, NumberOfFrames=2)
    for index, picture in enumerate(pictures):
        assert (grey(parse_image(data, frame=index)) == picture).all()


def rle(picture: np.ndarray) -> bytes:
    """One segment of runs (PS3.5 annex G)."""
    runs = b"".join(bytes([257 - 8, row[0]]) for row in picture)
    return struct.pack("<16I", 1, 64, *[0] * 14) + runs


def test_more_streams_than_frames_are_said() -> None:
    streams = [flat_lossless_jpeg(16, 16, 8) for _ in range(2)]
    body = encapsulate([stream + b"\0" * (len(stream) % 2) for stream in streams])
    data = dicom(
        np.zeros((16, 16), np.uint8),
        syntax=uid.JPEGLosslessSV1,
        pixel_data=body,
    )
    assert any("more streams" in note for note in parse_image(data).notes)
