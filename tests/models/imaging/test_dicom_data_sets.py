"""DICOM files with odd elements before their pixels, cut before them, or with more after them."""

import numpy as np
import pytest
from dicom_files import RAMP, SYNTAXES, base, dicom, element, grey, in_order, insert, written
from pydicom.sequence import Sequence

from models.imaging import ImageBroken, PixelsMissing, parse_image


@pytest.mark.parametrize("vr", ["OX", "ZZ", "ox", "??", "\0\0", "UN"])
@pytest.mark.parametrize("long", [False, True])
@pytest.mark.parametrize("value", [b"", b"ABCD", bytes(300)])
def test_private_vr_hides_nothing_after_it(vr: str, long: bool, value: bytes) -> None:
    sound = dicom(RAMP, WindowCenter=32, WindowWidth=64)
    private = element(0x00091001, vr, value, long=long)
    image = parse_image(insert(sound, private))
    assert (image.pixels == parse_image(sound).pixels).all()


def test_implicit_element_among_explicit_ones_hides_nothing() -> None:
    sound = dicom(RAMP, WindowCenter=32, WindowWidth=64)
    image = parse_image(insert(sound, element(0x00091001, "", b"ABCDEF")))
    assert (image.pixels == parse_image(sound).pixels).all()


@pytest.mark.parametrize(
    "inside",
    [
        b"\xfe\xff\xdd\xe0\0\0\0\0\xfe\xff\x0d\xe0\0\0\0\0",  # the two ends swapped
        b"\xfe\xff\xdd\xe0\0\0\0\0",  # the item's end left out
        b"\xfe\xff\x0d\xe0\0\0\0\0",  # the sequence's end left out
        b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0",
    ],
)
def test_delimiters_of_a_sequence_may_be_wrong(inside: bytes) -> None:
    sound = dicom(RAMP, WindowCenter=32, WindowWidth=64)
    start = b"\x09\x00\x02\x10SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    sequence = start + element(0x00091003, "LO", b"AB") + inside
    image = parse_image(insert(sound, sequence))
    assert (image.pixels == parse_image(sound).pixels).all()


@pytest.mark.parametrize("stray", [bytes(8), bytes(30), b"\xfe\xff\x0d\xe0\0\0\0\0"])
def test_nulls_and_stray_delimiters_between_elements_are_skipped(stray: bytes) -> None:
    sound = dicom(RAMP, WindowCenter=32, WindowWidth=64)
    image = parse_image(insert(sound, stray))
    assert (image.pixels == parse_image(sound).pixels).all()


def test_pixels_of_an_icon_are_never_those_of_the_image() -> None:
    icon = base(np.full((8, 8), 9, np.uint16))
    for length in (True, False):
        dataset = base(RAMP)
        dataset.IconImageSequence = Sequence([icon])
        dataset["IconImageSequence"].is_undefined_length = length
        dataset.IconImageSequence[0].is_undefined_length_sequence_item = length
        image = parse_image(written(dataset, SYNTAXES[1]))
        assert (grey(image)[0, 0], grey(image)[-1, -1]) == (0, 255)


def test_file_cut_anywhere_before_its_pixels_says_that_it_may_be_cut() -> None:
    for syntax in SYNTAXES:
        data = written(base(in_order(RAMP, syntax)), syntax)
        pixels = data.index(b"\x7f\xe0" if syntax == SYNTAXES[2] else b"\xe0\x7f")
        for cut in range(300, len(data) - 1, 7):
            with pytest.raises((ImageBroken, PixelsMissing)) as caught:
                parse_image(data[:cut])
            if cut > pixels:
                assert caught.value.code == "image_broken"
            text = str(caught.value)
            if cut > data.index(b"\x28\0" if syntax != SYNTAXES[2] else b"\0\x28", 300) + 40:
                assert "incomplete" in text or "cut" in text


def test_what_follows_the_pixels_is_not_needed() -> None:
    sound = dicom(RAMP, WindowCenter=32, WindowWidth=64)
    image = parse_image(sound + b"\xfa\xff\xfa\xffSQ\0\0\xff\xff")
    assert (image.pixels == parse_image(sound).pixels).all()
