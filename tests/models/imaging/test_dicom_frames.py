"""DICOM files whose fragments, offsets or end marks do not make the frames they say."""

import struct
from typing import Any

import pytest
from dicom_files import dicom, element
from dicom_streams import END, PICTURES, STREAMS, even, fragment_item
from pydicom import uid

from models.imaging import ImageBroken, parse_image


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
    body = fragment_item(struct.pack(f"<{len(offsets or [])}I", *(offsets or [])))
    body += b"".join(fragment_item(even(fragment)) for fragment in fragments)
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
    body = b"".join(fragment_item(even(stream)) for stream in STREAMS[uid.JPEGBaseline8Bit])
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
