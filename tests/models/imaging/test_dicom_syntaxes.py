"""DICOM files whose transfer syntax and pixels disagree."""

import struct
import zlib

import numpy as np
import openjpeg.utils
import pytest
from dicom_files import RAMP, SYNTAXES, base, dicom, element, grey, in_order, insert, written
from dicom_streams import END, PICTURES, STREAMS, even, fragment_item
from pydicom import uid
from pydicom.encaps import encapsulate

from models.imaging import ImageBroken, parse_image


@pytest.mark.parametrize("syntax", SYNTAXES[:2])
@pytest.mark.parametrize("undefined", [True, False])
def test_fragments_under_a_native_syntax_are_refused_with_the_syntax_named(
    syntax: str, undefined: bool
) -> None:
    body = encapsulate([STREAMS[uid.JPEGBaseline8Bit][0]])
    dataset = base(RAMP)
    dataset.PixelData = body
    data = written(dataset, syntax)
    if undefined:
        place = data.rindex(body)
        data = data[: place - 4] + b"\xff\xff\xff\xff" + body + END
    with pytest.raises(ImageBroken, match=f"transfer syntax {syntax}"):
        parse_image(data)


@pytest.mark.parametrize("syntax", [*SYNTAXES, uid.DeflatedExplicitVRLittleEndian])
@pytest.mark.parametrize("kind", ["items", "items in the other order", *STREAMS])
def test_compressed_values_under_a_native_syntax_are_never_called_incomplete(
    kind: str, syntax: str
) -> None:
    stream = even(STREAMS.get(kind, STREAMS[uid.JPEGBaseline8Bit])[0])
    body = {
        "items": fragment_item(b"") + fragment_item(stream),
        "items in the other order": b"\xff\xfe\xe0\x00" + struct.pack(">I", len(stream)) + stream,
    }.get(kind, stream)
    dataset = base(PICTURES[0].astype(np.uint16))
    dataset.PixelData = body
    with pytest.raises(ImageBroken, match=f"transfer syntax {syntax}"):
        parse_image(written(dataset, syntax))


def test_plain_pixels_under_a_compressed_syntax_are_refused_with_the_syntax_named() -> None:
    data = written(base(RAMP), SYNTAXES[1])
    data = data.replace(b"UI\x14\x001.2.840.10008.1.2.1\0", b"UI\x16\x001.2.840.10008.1.2.4.50")
    with pytest.raises(ImageBroken, match="fragments"):
        parse_image(data)


def test_stream_of_another_kind_than_the_syntax_says_is_read_with_a_note() -> None:
    stream = openjpeg.utils.encode_array(PICTURES[1])
    data = dicom(PICTURES[1], syntax=uid.JPEGBaseline8Bit, pixel_data=encapsulate([stream]))
    image = parse_image(data)
    assert (grey(image) == PICTURES[1]).all()
    assert any("JPEG 2000" in note for note in image.notes)


def test_uncompressed_data_set_in_the_other_vr_encoding_is_read_with_a_note() -> None:
    for syntax, other in ((SYNTAXES[0], SYNTAXES[1]), (SYNTAXES[1], SYNTAXES[0])):
        right, wrong = f"{syntax}\0".encode(), f"{other}\0".encode()
        right, wrong = (text + b"\0" * (len(text) % 2) for text in (right, wrong))
        data = written(base(RAMP), syntax)
        start = data.index(str(syntax).encode())
        size = len(str(syntax)) + len(str(syntax)) % 2
        named = str(other).encode().ljust(len(str(other)) + len(str(other)) % 2, b"\0")
        data = data[: start - 2] + struct.pack("<H", len(named)) + named + data[start + size :]
        image = parse_image(data)
        assert (grey(image)[0, 0], grey(image)[-1, -1]) == (0, 255)
        assert any("unlike its transfer syntax" in note for note in image.notes)


@pytest.mark.parametrize("syntax", SYNTAXES[1:])
def test_data_set_in_the_other_byte_order_is_read_with_a_note(syntax: str) -> None:
    data = written(base(in_order(RAMP, syntax)), syntax)
    named = {str(SYNTAXES[1]).encode(): str(SYNTAXES[2]).encode()}
    named |= {there: here for here, there in named.items()}
    image = parse_image(data.replace(str(syntax).encode(), named[str(syntax).encode()]))
    assert (image.pixels == parse_image(data).pixels).all()
    assert (grey(image)[0, 0], grey(image)[-1, -1]) == (0, 255)
    order = "little" if syntax == SYNTAXES[1] else "big"
    assert image.notes == (f"The file is {order}-endian, unlike its transfer syntax.",)


@pytest.mark.parametrize("group", [0x0009, 0x0101, 0x033F, 0x3F03, 0x0903, 0x7F01])
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_data_set_may_begin_with_any_private_group(group: int, syntax: str) -> None:
    order = ">" if syntax == SYNTAXES[2] else "<"
    vr = "" if syntax == SYNTAXES[0] else "LO"
    private = element(group << 16 | 0x10, vr, b"A CREATOR ", order=order)
    first = {"<": b"\x28\0\x02\0", ">": b"\0\x28\0\x02"}[order]
    data = insert(written(base(in_order(RAMP, syntax)), syntax), private, before=first)
    image = parse_image(data)
    assert (grey(image)[0, 0], grey(image)[-1, -1]) == (0, 255)
    assert not any("endian" in note for note in image.notes)


@pytest.mark.parametrize("level", [1, 6, 9])
def test_deflated_data_set_may_have_a_zlib_header(level: int) -> None:
    sound = written(base(RAMP), uid.DeflatedExplicitVRLittleEndian)
    plain = written(base(RAMP), SYNTAXES[1])
    head = sound.index(b"1.2.840.10008.1.2.1.99") + 22
    body = plain[plain.index(b"\x28\0\x02\0US") :]
    image = parse_image(sound[:head] + zlib.compress(body, level))
    assert (image.pixels == parse_image(sound).pixels).all()


def test_pixel_data_that_is_too_short_says_how_much_was_expected() -> None:
    with pytest.raises(ImageBroken, match="Expected 144 bytes of pixel data"):
        parse_image(dicom(RAMP, Rows=9))
