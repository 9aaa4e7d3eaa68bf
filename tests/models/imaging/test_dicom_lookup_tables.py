"""DICOM files whose lookup tables or palettes depart from the standard."""

from typing import Any

import numpy as np
import pytest
from dicom_files import RAMP, SYNTAXES, dicom, grey, in_order, line
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from models.imaging import ImageBroken, parse_image


def table(
    entries: Any, *, first: int = 0, bits: int = 16, count: int | None = None, syntax: str = ""
) -> Dataset:
    """An item of a lookup table sequence, its words in the byte order of the transfer syntax."""
    words = np.asarray(entries, np.uint16)
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(words) if count is None else count, first, bits])
    item.add_new("LUTData", "OW", in_order(words, syntax).tobytes())
    return item


def with_voi(item: Dataset, stored: np.ndarray, *, syntax: str = SYNTAXES[1], **more: Any) -> bytes:
    return dicom(in_order(stored, syntax), syntax=syntax, VOILUTSequence=Sequence([item]), **more)


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("said", [8, 10, 12, 15, 16, 0, 32])
@pytest.mark.parametrize("used", [10, 12])
def test_voi_entries_are_scaled_by_the_bits_that_they_use(said: int, used: int, syntax: str):
    entries = np.linspace(0, 2**used - 1, 64).round().astype(np.uint16)
    image = parse_image(with_voi(table(entries, bits=said, syntax=syntax), RAMP, syntax=syntax))
    assert (
        grey(image).ravel().tolist()
        == np.floor(entries / (2**used - 1) * 255 + 0.5).astype(int).tolist()
    )
    assert image.window_origin == "file"
    assert ("12 were used" in " ".join(image.notes)) == (used == 12 and said != 12)


def test_voi_entries_that_leave_one_bit_unused_on_purpose_stay_dim() -> None:
    entries = np.linspace(0, 2047, 64).round().astype(np.uint16)
    image = parse_image(with_voi(table(entries, bits=12), RAMP))
    assert grey(image).max() == 127


@pytest.mark.parametrize("said", [8, 12, 16])
def test_entries_with_a_byte_repeated_have_sixteen_bits_whatever_is_said(said: int) -> None:
    levels = np.arange(64) * 3
    image = parse_image(with_voi(table(levels * 257, bits=said), RAMP))
    assert grey(image).ravel().tolist() == levels.tolist()
    assert ("16 were used" in " ".join(image.notes)) == (said != 16)
    colours = parse_image(
        palette([(levels * 257).tolist()] * 3, count=64, said=said, segmented=False)
    )
    assert colours.pixels[:, :, 0].ravel().tolist() == levels.tolist()


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize(
    ("stored", "first", "intercept"),
    [
        (RAMP, -32, -32),  # unsigned pixels, values that can be negative
        (RAMP.astype(np.int16) - 32, -32, 0),
        # Signed pixels, values that cannot be negative.
        ((RAMP.astype(np.int32) - 32768).astype(np.int16), 0, 32768),
        (RAMP.astype(np.int16), 32768, 32768),
        (RAMP + 40000, 40000, 0),
        (RAMP + 41024, 40000, -1024),  # above 32767, although the range reaches below zero
    ],
)
def test_first_mapped_value_has_the_sign_of_the_rescaled_values(
    stored: np.ndarray, first: int, intercept: int, syntax: str
) -> None:
    entries = np.arange(64) * 1040
    item = table(entries, first=first & 0xFFFF, bits=16, syntax=syntax)
    image = parse_image(
        with_voi(item, stored, syntax=syntax, RescaleSlope=1, RescaleIntercept=intercept)
    )
    assert grey(image).ravel().tolist() == np.floor(entries / 257 + 0.5).astype(int).tolist()


@pytest.mark.parametrize("keyword", ["VOILUTSequence", "ModalityLUTSequence"])
def test_table_with_fewer_entries_than_it_says_repeats_its_last(keyword: str) -> None:
    entries = np.arange(40, dtype=np.uint16) * 1600
    item = table(entries, bits=16, count=64)
    image = parse_image(dicom(RAMP, **{keyword: Sequence([item])}), window=None)
    picture = grey(image).ravel()
    assert (picture[39:] == picture[39]).all()
    assert (np.diff(picture[:40].astype(int)) > 0).all()
    assert any("fewer entries" in note for note in image.notes)


@pytest.mark.parametrize("keyword", ["VOILUTSequence", "ModalityLUTSequence"])
def test_table_with_more_entries_than_it_says_is_noted(keyword: str) -> None:
    entries = np.arange(64, dtype=np.uint16) * 1000
    image = parse_image(dicom(RAMP, **{keyword: Sequence([table(entries, count=40)])}))
    said = parse_image(dicom(RAMP, **{keyword: Sequence([table(entries[:40])])}))
    assert (image.pixels == said.pixels).all()
    assert any("more entries" in note for note in image.notes)
    assert not any("more entries" in note for note in said.notes)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_entries_of_eight_bits_may_be_packed(syntax: str) -> None:
    entries = np.arange(64, dtype=np.uint8) * 4
    pairs = entries.reshape(-1, 2)
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [64, 0, 8])
    big = syntax == uid.ExplicitVRBigEndian
    item.add_new("LUTData", "OW", (pairs[:, ::-1] if big else pairs).tobytes())
    image = parse_image(with_voi(item, RAMP, syntax=syntax))
    assert grey(image).ravel().tolist() == np.floor(entries / 255 * 255 + 0.5).astype(int).tolist()


@pytest.mark.parametrize("keyword", ["VOILUTSequence", "ModalityLUTSequence"])
@pytest.mark.parametrize("items", ["none", "empty", "descriptor alone", "empty first"])
def test_sequence_without_a_table_changes_nothing(keyword: str, items: str) -> None:
    alone = Dataset()
    alone.add_new("LUTDescriptor", "US", [64, 0, 12])
    sound = dicom(RAMP, WindowCenter=32, WindowWidth=64, RescaleSlope=2, RescaleIntercept=-32)
    found = {"none": [], "empty": [Dataset()], "descriptor alone": [alone]}.get(items)
    if found is None:
        whole = table(np.arange(64) * 1040)
        first, second = (
            parse_image(dicom(RAMP, **{keyword: Sequence(given)}))
            for given in ([whole], [Dataset(), whole])
        )
        assert (first.pixels == second.pixels).all()
        return
    data = dicom(
        RAMP,
        WindowCenter=32,
        WindowWidth=64,
        RescaleSlope=2,
        RescaleIntercept=-32,
        **{keyword: Sequence(found)},
    )
    assert (parse_image(data).pixels == parse_image(sound).pixels).all()


def palette(
    parts: list[list[int]], *, count: int, bits: int = 16, said: int = 0, segmented: bool = True
) -> bytes:
    elements: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for name, numbers in zip(("Red", "Green", "Blue"), parts, strict=True):
        elements[f"{name}PaletteColorLookupTableDescriptor"] = [count, 0, said or bits]
        kind = "Segmented" if segmented else ""
        words = np.array(numbers, "u1" if bits == 8 else "<u2").tobytes()
        elements[f"{kind}{name}PaletteColorLookupTableData"] = words
    stored = line(*range(count), dtype=np.uint8)
    return dicom(stored, **elements)


@pytest.mark.parametrize("bits", [8, 16])
def test_segments_of_a_palette_are_expanded(bits: int) -> None:
    scale = 257 if bits == 16 else 1
    discrete = [0, 2, 10 * scale, 20 * scale]  # 10, 20
    linear = [1, 4, 60 * scale]  # 30, 40, 50, 60
    # The two segments again: an offset of 0 in one word, or its four bytes.
    indirect = [2, 2, 0, 0] if bits == 16 else [2, 2, 0, 0, 0, 0]
    parts = [*discrete, *linear, *indirect]
    image = parse_image(palette([parts, parts, parts], count=12, bits=bits))
    expected = [10, 20, 30, 40, 50, 60] * 2
    assert image.pixels.reshape(-1, 3)[:12, 0].tolist() == expected


@pytest.mark.parametrize("parts", [[1, 4, 60], [7, 1, 1], [2, 1, 0, 0], [0, 2]])
def test_segments_that_cannot_be_expanded_are_refused(parts: list[int]) -> None:
    with pytest.raises(ImageBroken, match="palette"):
        parse_image(palette([parts] * 3, count=12))


def test_colours_of_twelve_bits_in_a_palette_of_sixteen_are_scaled_by_twelve() -> None:
    entries = [[0, 2048, 4095], [1, 0, 0], [0, 0, 17]]
    image = parse_image(palette(entries, count=3, segmented=False))
    assert image.pixels.reshape(-1, 3)[:3, 0].tolist() == [0, 128, 255]
    assert "12 were used" in image.notes[0]


def test_colours_of_eight_bits_repeated_in_both_bytes_may_be_dim() -> None:
    entries = [[0, 10 * 257, 5 * 257]] * 3
    image = parse_image(palette(entries, count=3, segmented=False))
    assert image.pixels.reshape(-1, 3)[:3, 0].tolist() == [0, 10, 5]
