"""DICOM files whose rescale or window departs from the standard."""

import pytest
from dicom_files import RAMP, SYNTAXES, dicom, element, in_order
from pydicom import uid
from pydicom.datadict import tag_for_keyword

from models.imaging import ImageBroken, ImageNotFinite, parse_image


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize(
    ("elements", "line_", "note"),
    [
        ({"RescaleIntercept": "-1024"}, (1, -1024), "RescaleSlope is absent"),
        ({"RescaleSlope": "2"}, (2, 0), "RescaleIntercept is absent"),
        ({"RescaleSlope": "", "RescaleIntercept": "-10"}, (1, -10), "RescaleSlope is absent"),
        ({"RescaleSlope": "0", "RescaleIntercept": "5"}, (1, 5), "RescaleSlope is 0"),
        ({"RescaleSlope": "1,5", "RescaleIntercept": "-0,50"}, (1.5, -0.5), "decimal comma"),
        ({"RescaleSlope": " 2.0e0 ", "RescaleIntercept": "+3"}, (2, 3), ""),
    ],
    ids=str,
)
def test_half_a_rescale_counts_with_a_note(
    elements: dict[str, str], line_: tuple[float, float], note: str, syntax: str
) -> None:
    data = dicom(in_order(RAMP, syntax), syntax=syntax, **dict.fromkeys(elements, "1"))
    for keyword, text in elements.items():
        data = rewritten(data, keyword, text, syntax)
    image = parse_image(data, window=(0, 200))
    slope, intercept = map(str, line_)
    expected = dicom(RAMP, RescaleSlope=slope, RescaleIntercept=intercept)
    assert (image.pixels == parse_image(expected, window=(0, 200)).pixels).all()
    assert bool(image.notes) == bool(note)
    assert note in " ".join(image.notes)


def rewritten(data: bytes, keyword: str, text: str, syntax: str) -> bytes:
    """The file with another text in an element of VR DS that holds "1"."""
    tag = tag_for_keyword(keyword)
    order = ">" if syntax == uid.ExplicitVRBigEndian else "<"
    vr = "" if syntax == uid.ImplicitVRLittleEndian else "DS"
    old = element(tag, vr, b"1 ", order=order)
    assert old in data
    value = text.encode() + b" " * (len(text) % 2)
    return data.replace(old, element(tag, vr, value, order=order))


@pytest.mark.parametrize("keyword", ["RescaleSlope", "RescaleIntercept"])
@pytest.mark.parametrize("text", ["abc", "1,000", "1.2.3", "-", "1_0", "NaN"])
def test_rescale_value_that_is_no_number_is_refused_by_name(keyword: str, text: str) -> None:
    data = rewritten(dicom(RAMP, **{keyword: "1"}), keyword, text, SYNTAXES[1])
    with pytest.raises((ImageBroken, ImageNotFinite), match=keyword):
        parse_image(data)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_window_with_a_decimal_comma_is_read_and_said(syntax: str) -> None:
    data = dicom(in_order(RAMP, syntax), syntax=syntax, WindowCenter="1", WindowWidth="64")
    image = parse_image(rewritten(data, "WindowCenter", "32,0", syntax))
    assert (image.window, image.window_origin) == ((32.0, 64.0), "file")
    assert "decimal comma" in image.notes[0]


@pytest.mark.parametrize("text", ["AUTO", "1,024", "NaN", "--", "40;400"])
@pytest.mark.parametrize("keyword", ["WindowCenter", "WindowWidth"])
def test_window_that_is_no_number_falls_back_to_percentiles(keyword: str, text: str) -> None:
    windows = {"WindowCenter": "32", "WindowWidth": "64"} | {keyword: "1"}
    image = parse_image(rewritten(dicom(RAMP, **windows), keyword, text, SYNTAXES[1]))
    assert image.window_origin == "percentile"
    assert "cannot be used" in image.notes[0]
    assert text not in " ".join(image.notes)


def test_half_a_window_falls_back_and_says_so() -> None:
    image = parse_image(dicom(RAMP, WindowCenter=32))
    assert image.window_origin == "percentile"
    assert "cannot be used" in image.notes[0]
