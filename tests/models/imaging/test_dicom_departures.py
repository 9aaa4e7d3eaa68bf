"""DICOM files that break rules of the standard in ways that viewers put up with.

Each law names the public report that it comes from by its kind, and is tried on several cousins.
"""

import io
import struct
from typing import Any

import numpy as np
import openjpeg.utils
import pytest
from dicom_files import RAMP, dicom, element, grey, insert, line, written
from PIL import Image
from pydicom import uid
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence

from models.imaging import (
    BurnedInText,
    ImageBroken,
    ImageNotFinite,
    PixelsMissing,
    PixelsUnsupported,
    parse_image,
)

SYNTAXES = [uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian]
COLOURS = np.random.default_rng(5).integers(0, 256, (40, 48, 3)).astype(np.uint8)


def in_order(values: np.ndarray, syntax: str) -> np.ndarray:
    return values.byteswap() if syntax == uid.ExplicitVRBigEndian else values


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


# VOI and modality lookup tables.


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


# Rescale and window.


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


# Frames.


def jpeg(picture: np.ndarray, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=95, **options)
    return file.getvalue()


PICTURES = [np.full((40, 48), level, np.uint8) for level in (40, 120, 200)]
STREAMS = {
    uid.JPEGBaseline8Bit: [jpeg(picture) for picture in PICTURES],
    uid.JPEG2000Lossless: [openjpeg.utils.encode_array(picture) for picture in PICTURES],
}


def item(body: bytes) -> bytes:
    return b"\xfe\xff\x00\xe0" + struct.pack("<I", len(body)) + body


def even(stream: bytes) -> bytes:
    return stream + b"\0" * (len(stream) % 2)


END = b"\xfe\xff\xdd\xe0\0\0\0\0"


def encapsulated(
    syntax: str,
    fragments: list[bytes],
    *,
    offsets: list[int] | None = None,
    end: bytes = END,
    frames: int = 3,
    **elements: Any,
) -> bytes:
    """A file of compressed frames with this offset table and end of the pixel data."""
    body = item(struct.pack(f"<{len(offsets or [])}I", *(offsets or [])))
    body += b"".join(item(even(fragment)) for fragment in fragments)
    data = dicom(
        PICTURES[0], syntax=syntax, pixel_data=body + END, NumberOfFrames=frames, **elements
    )
    while data.endswith(END):
        data = data[: -len(END)]
    return data + end


def places(fragments: list[bytes]) -> list[int]:
    found, at = [], 0
    for fragment in fragments:
        found.append(at)
        at += 8 + len(even(fragment))
    return found


def means(data: bytes) -> list[float]:
    """The mean level of each of the three frames: 40, 120 and 200 if they are the right ones."""
    return [float(parse_image(data, frame=frame).pixels.mean()) for frame in range(3)]


@pytest.mark.parametrize("syntax", STREAMS)
@pytest.mark.parametrize("cut", [False, True], ids=["one fragment", "three fragments"])
@pytest.mark.parametrize(
    "table_", ["right", "empty", "zeros", "beyond", "off by 8", "off by 2", "one entry", "reversed"]
)
def test_frame_k_is_frame_k_whatever_the_offset_table_says(
    table_: str, cut: bool, syntax: str
) -> None:
    streams = STREAMS[syntax]
    fragments, right = [], []
    for stream in streams:
        right.append(len(fragments))
        third = len(stream) // 6 * 2
        parts = [stream[:third], stream[third : 2 * third], stream[2 * third :]]
        fragments += parts if cut else [stream]
    starts = [places(fragments)[number] for number in right]
    offsets = {
        "right": starts,
        "empty": [],
        "zeros": [0, 0, 0],
        "beyond": [*starts[:2], 2**31],
        "off by 8": [start + 8 for start in starts],
        "off by 2": [starts[0], starts[1] + 2, starts[2]],
        "one entry": [0],
        "reversed": starts[::-1],
    }[table_]
    data = encapsulated(syntax, fragments, offsets=offsets)
    assert means(data) == pytest.approx([40, 120, 200], abs=2)
    noted = any("offsets" in note for note in parse_image(data, frame=0).notes)
    assert noted == (table_ not in ("right", "empty"))


@pytest.mark.parametrize("syntax", STREAMS)
@pytest.mark.parametrize(
    ("end", "noted"),
    [
        (END, False),
        (b"", True),
        (b"\0" * 10, True),
        (b"\xfe\xff\x0d\xe0\0\0\0\0", True),  # an item's delimiter
        (b"\xff\xfe\xe0\xdd\0\0\0\0", False),  # in the other byte order
        (b"\xfe\xff\x0d\xe0\0\0\0\0" + END, False),
        (END + b"\0" * 100, False),
        (element(0xFFFCFFFC, "OB", bytes(8), long=True), True),
    ],
    ids=["right", "none", "nulls", "item's", "swapped", "both", "right, nulls", "padding element"],
)
def test_compressed_pixels_end_with_the_file_where_no_delimiter_does(
    end: bytes, noted: bool, syntax: str
) -> None:
    data = encapsulated(syntax, STREAMS[syntax], end=end)
    assert means(data) == pytest.approx([40, 120, 200], abs=2)
    assert any("end mark" in note for note in parse_image(data, frame=0).notes) == noted


def test_compressed_pixels_without_an_offset_table_are_counted() -> None:
    body = b"".join(item(even(stream)) for stream in STREAMS[uid.JPEGBaseline8Bit])
    data = dicom(PICTURES[0], syntax=uid.JPEGBaseline8Bit, pixel_data=body, NumberOfFrames=3)
    assert means(data) == pytest.approx([40, 120, 200], abs=2)


@pytest.mark.parametrize("believable", [True, False])
def test_extended_offset_table_is_believed_only_where_it_fits(believable: bool) -> None:
    streams = STREAMS[uid.JPEGBaseline8Bit]
    starts = places(streams) if believable else [0, 4, 10**12]
    data = encapsulated(
        uid.JPEGBaseline8Bit,
        streams,
        ExtendedOffsetTable=struct.pack("<3Q", *starts),
        ExtendedOffsetTableLengths=struct.pack("<3Q", *map(len, streams)),
    )
    assert means(data) == pytest.approx([40, 120, 200], abs=2)
    assert any("offsets" in note for note in parse_image(data, frame=0).notes) != believable


@pytest.mark.parametrize("frames", [2, 4])
def test_fragments_that_do_not_make_the_frames_are_refused(frames: int) -> None:
    data = encapsulated(uid.JPEGBaseline8Bit, STREAMS[uid.JPEGBaseline8Bit], frames=frames)
    with pytest.raises(ImageBroken, match=f"{frames} frame"):
        parse_image(data, frame=0)


def test_a_fragment_that_is_cut_is_incomplete() -> None:
    data = encapsulated(uid.JPEGBaseline8Bit, STREAMS[uid.JPEGBaseline8Bit], end=b"")
    with pytest.raises(ImageBroken, match="incomplete"):
        parse_image(data[:-20], frame=0)


# Colour.


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


# Elements that are absent, doubled, padded or in lower case.


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


def base(values: np.ndarray) -> Dataset:
    dataset = Dataset()
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = values.shape
    dataset.BitsAllocated, dataset.BitsStored = 16, 16
    dataset.PixelRepresentation = 0
    dataset.WindowCenter, dataset.WindowWidth = 32, 64
    dataset.PixelData = values.tobytes()
    dataset["PixelData"].VR = "OW"
    return dataset


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


# What stands before the pixels.


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


# The transfer syntax and the pixels disagree.


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


def test_pixel_data_that_is_too_short_says_how_much_was_expected() -> None:
    with pytest.raises(ImageBroken, match="Expected 144 bytes of pixel data"):
        parse_image(dicom(RAMP, Rows=9))


# Palettes.


def palette(parts: list[list[int]], *, count: int, bits: int = 16, segmented: bool = True) -> bytes:
    elements: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for name, numbers in zip(("Red", "Green", "Blue"), parts, strict=True):
        elements[f"{name}PaletteColorLookupTableDescriptor"] = [count, 0, bits]
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
