"""DICOM files whose colours disagree with their label."""

import struct

import numpy as np
import openjpeg.utils
import pytest
import rle.utils
from dicom_files import COLOURS, SYNTAXES, dicom
from dicom_streams import jpeg
from pydicom import uid
from pydicom.encaps import encapsulate

from models.imaging import parse_image


@pytest.mark.parametrize("label", ["RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT"])
def test_transform_of_a_jpeg_2000_stream_is_believed_before_the_label(label: str) -> None:
    stream = openjpeg.utils.encode_array(COLOURS, photometric_interpretation=1, use_mct=True)
    assert stream[stream.index(b"\xff\x52") + 8] == 1
    image = parse_image(colour(stream, label))
    assert (image.pixels == COLOURS).all()
    assert bool(image.notes) == label.startswith("YBR_FULL")


@pytest.mark.parametrize("label", ["RGB", "YBR_RCT", "YBR_ICT"])
def test_jpeg_2000_without_a_transform_is_rgb_unless_it_is_full_ybr(label: str) -> None:
    stream = openjpeg.utils.encode_array(COLOURS, photometric_interpretation=1, use_mct=False)
    image = parse_image(colour(stream, label))
    assert (image.pixels == COLOURS).all()
    assert bool(image.notes) == (label != "RGB")
    white = np.full((40, 48, 3), (235, 128, 128), np.uint8)
    stream = openjpeg.utils.encode_array(white, photometric_interpretation=1, use_mct=False)
    full = parse_image(colour(stream, "YBR_FULL"))
    assert (full.pixels == 235).all()


def colour(stream: bytes, label: str, syntax: str = uid.JPEG2000Lossless) -> bytes:
    return dicom(
        COLOURS[:, :, 0],
        syntax=syntax,
        pixel_data=encapsulate([stream]),
        SamplesPerPixel=3,
        PlanarConfiguration=0,
        PhotometricInterpretation=label,
    )


ADOBE = b"\xff\xee\x00\x0eAdobe\x00\x64\0\0\0\0"


@pytest.mark.parametrize("label", ["RGB", "YBR_FULL", "YBR_FULL_422"])
@pytest.mark.parametrize("marker", ["jfif", "adobe", "both"])
def test_markers_of_a_jpeg_stream_are_believed_before_the_label(label: str, marker: str) -> None:
    smooth = np.zeros((40, 48, 3), np.uint8)
    smooth[:] = (200, 80, 40)
    stream = jpeg(smooth, subsampling=0)
    assert stream[2:4] == b"\xff\xe0"
    rest = stream[4 + int.from_bytes(stream[4:6], "big") :]
    head = {"jfif": stream[:20], "adobe": b"\xff\xd8" + ADOBE + b"\1"}.get(
        marker, stream[:20] + ADOBE + b"\1"
    )
    image = parse_image(colour(head + rest, label, uid.JPEGBaseline8Bit))
    assert (abs(image.pixels.astype(int) - smooth) <= 3).all()


@pytest.mark.parametrize("label", ["RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"])
@pytest.mark.parametrize("said", ["jfif", "subsampled", "nothing"])
def test_colours_of_a_jpeg_stream_are_ycbcr_whatever_label_was_left_over(
    said: str, label: str
) -> None:
    smooth = np.zeros((40, 48, 3), np.uint8)
    smooth[:] = (200, 80, 40)
    stream = jpeg(smooth, subsampling=2 if said == "subsampled" else 0)
    if said != "jfif":
        stream = stream[:2] + stream[4 + int.from_bytes(stream[4:6], "big") :]
    image = parse_image(colour(stream, label, uid.JPEGBaseline8Bit))
    if (said, label) == ("nothing", "RGB"):  # then the label decides
        assert abs(image.pixels.astype(int) - smooth).mean() > 20
        return
    assert (abs(image.pixels.astype(int) - smooth) <= 3).all()
    left_over = not label.startswith("YBR_FULL")
    assert any("read as YCbCr" in note for note in image.notes) == left_over


@pytest.mark.parametrize("label", ["YBR_ICT", "YBR_RCT"])
@pytest.mark.parametrize("kind", [*SYNTAXES, uid.JPEGLSLossless, uid.RLELossless])
def test_label_left_over_from_jpeg_2000_is_noted_and_the_values_are_rgb(
    kind: str, label: str
) -> None:
    planes = np.moveaxis(COLOURS, -1, 0)
    if kind in SYNTAXES:
        data = dicom(
            COLOURS.reshape(40, 144),
            syntax=kind,
            Columns=48,
            SamplesPerPixel=3,
            PlanarConfiguration=0,
            PhotometricInterpretation=label,
        )
        if kind == SYNTAXES[2]:  # bytes are written as they are, and read as words of two
            swapped = COLOURS.reshape(-1, 2)[:, ::-1].tobytes()
            data = data.replace(COLOURS.tobytes(), swapped)
    elif kind == uid.RLELossless:
        parts = [
            rle.utils.encode_pixel_data(
                plane.tobytes(),
                rows=40,
                columns=48,
                samples_per_pixel=1,
                number_of_frames=1,
                bits_allocated=8,
                byteorder="<",
            )[64:]
            for plane in planes
        ]
        places = np.cumsum([64, *map(len, parts[:2])]).tolist()
        head = struct.pack("<16I", 3, *places, *[0] * 12)
        data = colour(head + b"".join(parts), label, kind)
    else:
        jpeg_ls = pytest.importorskip("jpeg_ls")
        data = colour(bytes(jpeg_ls.encode_array(COLOURS, interleave_mode=2)), label, kind)
    image = parse_image(data)
    assert (image.pixels == COLOURS).all()
    assert image.notes == (
        f"The colours were read as RGB, not as {label}, which PhotometricInterpretation says.",
    )


def test_colour_profile_of_a_dicom_image_is_noted() -> None:
    data = dicom(
        COLOURS.reshape(40, 144),
        Columns=48,
        SamplesPerPixel=3,
        PlanarConfiguration=0,
        PhotometricInterpretation="RGB",
        ICCProfile=bytes(200),
    )
    assert any("profile" in note for note in parse_image(data).notes)
