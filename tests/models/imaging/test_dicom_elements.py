"""DICOM files whose elements are absent, doubled, padded or in lower case."""

import pytest
from dicom_files import COLOURS, RAMP, SYNTAXES, base, dicom, element, grey, in_order, written

from models.imaging import BurnedInText, ImageBroken, PixelsUnsupported, parse_image


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize(
    "keyword", ["PixelRepresentation", "BitsStored", "SamplesPerPixel", "PhotometricInterpretation"]
)
@pytest.mark.parametrize("empty", [False, True])
def test_absent_element_has_its_usual_value_and_a_note(
    keyword: str, empty: bool, syntax: str
) -> None:
    sound = parse_image(dicom(RAMP, WindowCenter=32, WindowWidth=64))
    dataset = base(in_order(RAMP, syntax))
    if empty:
        setattr(dataset, keyword, None)
    else:
        delattr(dataset, keyword)
    image = parse_image(written(dataset, syntax))
    assert (image.pixels == sound.pixels).all()
    assert image.notes == (f"{keyword} is absent; {USUAL[keyword]} was assumed.",)


USUAL = {
    "PixelRepresentation": "0",
    "BitsStored": "16",
    "SamplesPerPixel": "1",
    "PhotometricInterpretation": "MONOCHROME2",
}


def test_absent_planar_configuration_is_by_pixel() -> None:
    data = dicom(
        COLOURS.reshape(40, 144),
        Columns=48,
        SamplesPerPixel=3,
        PhotometricInterpretation="RGB",
    )
    image = parse_image(data)
    assert (image.pixels == COLOURS).all()
    assert image.notes == ("PlanarConfiguration is absent; 0 was assumed.",)


@pytest.mark.parametrize("keyword", ["Rows", "BitsAllocated"])
def test_absent_element_that_nothing_replaces_is_named(keyword: str) -> None:
    dataset = base(RAMP)
    delattr(dataset, keyword)
    with pytest.raises(ImageBroken, match=keyword):
        parse_image(written(dataset, SYNTAXES[1]))


@pytest.mark.parametrize("keyword", ["SamplesPerPixel", "Rows", "BitsStored", "BitsAllocated"])
@pytest.mark.parametrize("syntax", SYNTAXES[1:])
def test_of_two_values_the_first_is_used_with_a_note(keyword: str, syntax: str) -> None:
    dataset = base(in_order(RAMP, syntax))
    setattr(dataset, keyword, [getattr(dataset, keyword), 0])
    image = parse_image(written(dataset, syntax))
    assert (grey(image)[0, 0], grey(image)[-1, -1]) == (0, 255)
    assert f"{keyword} has 2 values; the first was used." in image.notes


@pytest.mark.parametrize("code", ["monochrome2", " MONOCHROME2", "Monochrome2\0", "MONOCHROME2 \0"])
def test_code_strings_may_be_in_lower_case_and_padded(code: str) -> None:
    data = dicom(RAMP, WindowCenter=32, WindowWidth=64).replace(b"MONOCHROME2 ", b"@" * 12)
    value = code.encode().ljust(12, b"\0")[:12] if len(code) <= 12 else code.encode() + b"\0"
    plain = element(0x00280004, "CS", b"@" * 12)
    data = data.replace(plain, element(0x00280004, "CS", value + b" " * (len(value) % 2)))
    assert (grey(parse_image(data))[0, 0], grey(parse_image(data))[-1, -1]) == (0, 255)


def test_codes_in_lower_case_keep_their_meaning() -> None:
    data = dicom(RAMP, BurnedInAnnotation="YES").replace(b"CS\4\0YES ", b"CS\4\0yes\0")
    assert "burned into" in parse_image(data).notes[0]
    with pytest.raises(BurnedInText):
        parse_image(data, refuse_burned_in=True)
    with pytest.raises(PixelsUnsupported):
        parse_image(dicom(RAMP, Modality="SEG").replace(b"CS\4\0SEG ", b"CS\4\0seg "))
