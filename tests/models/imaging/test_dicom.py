"""The DICOM grey scale pipeline, on objects made here whose answers can be worked out by hand."""

import sys
import zlib
from typing import Any

import numpy as np
import pytest
from dicom_files import RAMP, dicom, grey, line, written
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence

from models.imaging import (
    BurnedInText,
    FrameOutOfRange,
    FrameRequired,
    ImageBroken,
    ImageLimits,
    ImageNotFinite,
    ImageTooLarge,
    PixelsMissing,
    PixelsUnsupported,
    TransferSyntaxUnsupported,
    WindowInvalid,
    parse_image,
)


def test_linear_window_is_that_of_ps3_3_c_11_2_1_2_1() -> None:
    # c = 40, w = 400: black to −160 (c − 0.5 − 199.5), white above 239 (c − 0.5 + 199.5).
    stored = line(-161, -160, -159, 39, 40, 239, 240, 2000)
    image = parse_image(dicom(stored), window=(40, 400))
    # −159: (−159 − 39.5)/399 + 0.5 = 0.00250627 → 0.64; 39: 0.49874687 → 127.18; 40: 127.82
    assert grey(image).ravel()[:8].tolist() == [0, 0, 1, 127, 128, 255, 255, 255]
    assert (image.window, image.window_origin) == ((40.0, 400.0), "request")


def test_linear_window_of_width_one_is_a_step_after_centre_minus_a_half() -> None:
    image = parse_image(dicom(line(9, 10, 11)), window=(10, 1))
    assert grey(image).ravel()[:3].tolist() == [0, 255, 255]


def test_linear_exact_window_is_that_of_ps3_3_c_11_2_1_3_2() -> None:
    # c = 0, w = 100: black to −50, white from 50; 0 → 0.5 → 127.5, a half upwards.
    data = dicom(line(-51, -50, 0, 25, 50), WindowCenter=0, WindowWidth=100)
    linear = parse_image(data)
    data = dicom(
        line(-51, -50, 0, 25, 50),
        WindowCenter=0,
        WindowWidth=100,
        VOILUTFunction="LINEAR_EXACT",
    )
    exact = parse_image(data)
    assert grey(exact).ravel()[:5].tolist() == [0, 0, 128, 191, 255]
    assert grey(linear).ravel()[:5].tolist() == [0, 0, 129, 193, 255]
    assert exact.window_origin == "file"


def test_sigmoid_window_is_that_of_ps3_3_c_11_2_1_3_1() -> None:
    data = dicom(line(-100, 0, 100), WindowCenter=0, WindowWidth=200, VOILUTFunction="SIGMOID")
    # 1 / (1 + e^±2) = 0.11920, 0.88080
    assert grey(parse_image(data)).ravel()[:3].tolist() == [30, 128, 225]


def test_rescale_comes_before_the_window() -> None:
    stored = line(0, 512, 1024, 1063, dtype=np.uint16)
    data = dicom(stored, RescaleSlope=2, RescaleIntercept=-1024)
    image = parse_image(data, window=(0.5, 1025))  # −512 → 0, 0 → 127.5, 512 → 255
    assert grey(image).ravel()[:4].tolist() == [0, 128, 255, 255]


def test_modality_lut_comes_before_the_window() -> None:
    item = Dataset()
    item.LUTDescriptor = [4, 10, 16]
    item.LUTData = np.array([0, 100, 200, 300], "<u2").tobytes()
    stored = line(0, 10, 11, 12, 13, 99, dtype=np.uint16)
    data = dicom(stored, ModalityLUTSequence=Sequence([item]))
    image = parse_image(data, window=(150.5, 301))  # 0 … 300
    assert grey(image).ravel()[:6].tolist() == [0, 0, 85, 170, 255, 255]


def test_voi_lut_of_the_file_is_applied_and_said() -> None:
    item = Dataset()
    item.LUTDescriptor = [3, 1, 8]
    item.LUTData = np.array([0, 51, 255], "<u2").tobytes()
    data = dicom(line(0, 1, 2, 3, 4, dtype=np.uint16), VOILUTSequence=Sequence([item]))
    image = parse_image(data)
    assert grey(image).ravel()[:5].tolist() == [0, 0, 51, 255, 255]
    assert (image.window, image.window_origin) == (None, "file")
    assert "lookup table" in image.notes[0]


def test_monochrome1_is_the_negative_of_monochrome2() -> None:
    positive = grey(parse_image(dicom(RAMP), window=(32, 64)))
    negative = grey(
        parse_image(dicom(RAMP, PhotometricInterpretation="MONOCHROME1"), window=(32, 64))
    )
    assert positive[0, 0] == 0
    assert positive[-1, -1] == 255
    assert negative.tolist() == (255 - positive.astype(int)).tolist()


def test_request_wins_over_file_and_file_over_percentiles() -> None:
    data = dicom(RAMP, WindowCenter=32, WindowWidth=64)
    assert parse_image(data, window=(10, 20)).window_origin == "request"
    assert parse_image(data).window == (32.0, 64.0)
    assert parse_image(data).window_origin == "file"
    assert parse_image(data, window="auto").window_origin == "percentile"
    assert parse_image(dicom(RAMP)).window_origin == "percentile"


def test_percentile_window_is_said_and_gives_the_same_pixels_when_asked_for() -> None:
    stored = np.random.default_rng(0).integers(-500, 3000, (40, 50)).astype(np.int16)
    data = dicom(stored, RescaleSlope=2, RescaleIntercept=-1024)
    image = parse_image(data)
    low, high = np.percentile(stored * 2.0 - 1024, [0.5, 99.5])
    assert image.window == pytest.approx(((low + high) / 2 + 0.5, high - low + 1))
    assert "0.5..99.5" in image.notes[0]
    assert (parse_image(data, window=image.window).pixels == image.pixels).all()


def test_padding_is_left_out_of_the_percentiles() -> None:
    stored = np.full((8, 8), -2000, np.int16)
    stored[2:6, 2:6] = np.arange(100, 116).reshape(4, 4)
    padded = parse_image(dicom(stored, PixelPaddingValue=-2000))
    centre, width = padded.window
    assert centre - width / 2 > 99
    assert grey(padded)[0, 0] == 0


def test_several_windows_use_the_first_and_say_so() -> None:
    image = parse_image(dicom(RAMP, WindowCenter=[32, 5], WindowWidth=[64, 10]))
    assert image.window == (32.0, 64.0)
    assert "2 windows" in image.notes[0]


@pytest.mark.parametrize("width", [0, -5])
def test_unusable_window_of_the_file_falls_back_and_says_so(width: int) -> None:
    image = parse_image(dicom(RAMP, WindowCenter=32, WindowWidth=width))
    assert image.window_origin == "percentile"
    assert "cannot be used" in image.notes[0]


def test_eight_bit_greys_without_a_window_stay_as_they_are() -> None:
    values = np.arange(40, 104, dtype=np.uint8).reshape(8, 8)
    image = parse_image(dicom(values))
    assert (grey(image) == values).all()
    assert (image.window, image.window_origin) == (None, "none")


def test_burned_in_annotation_is_noted_and_no_other_tag_is_kept() -> None:
    image = parse_image(dicom(RAMP, BurnedInAnnotation="YES", PatientName="Doe^Jane"))
    assert "burned into" in image.notes[0]
    assert "Doe" not in repr(image)


def test_burned_in_annotation_is_refused_where_the_policy_says_so() -> None:
    with pytest.raises(BurnedInText, match="burned in"):
        parse_image(dicom(RAMP, BurnedInAnnotation="YES"), refuse_burned_in=True)
    for said in ("NO", ""):
        assert parse_image(dicom(RAMP, BurnedInAnnotation=said), refuse_burned_in=True).frames == 1


def test_presentation_lut_shape_that_contradicts_is_noted_and_not_followed() -> None:
    image = parse_image(dicom(RAMP, PresentationLUTShape="INVERSE"), window=(32, 64))
    assert grey(image)[0, 0] == 0
    assert "PresentationLUTShape" in image.notes[0]


def test_several_frames_need_a_choice() -> None:
    data = dicom(np.stack([RAMP, RAMP + 100, RAMP + 200]), NumberOfFrames=3)
    with pytest.raises(FrameRequired, match="3 frames") as caught:
        parse_image(data)
    assert caught.value.frames == 3
    for frame in (-1, 3):
        with pytest.raises(FrameOutOfRange, match=f"frame={frame}"):
            parse_image(data, frame=frame)
    image = parse_image(data, frame=2, window=(232, 64))  # 200 … 263
    assert (image.frame, image.frames) == (2, 3)
    assert (grey(image)[0, 0], grey(image)[-1, -1]) == (0, 255)


def test_where_there_is_one_frame_no_other_is_taken() -> None:
    assert parse_image(dicom(RAMP), frame=0).frame == 0
    with pytest.raises(FrameOutOfRange):
        parse_image(dicom(RAMP), frame=7)


def test_functional_groups_give_each_frame_its_own_window() -> None:
    def group(centre: float, intercept: float) -> Dataset:
        voi, transformation, item = Dataset(), Dataset(), Dataset()
        voi.WindowCenter, voi.WindowWidth = centre, 64
        transformation.RescaleSlope, transformation.RescaleIntercept = 1, intercept
        item.FrameVOILUTSequence = Sequence([voi])
        item.PixelValueTransformationSequence = Sequence([transformation])
        return item

    data = dicom(
        np.stack([RAMP, RAMP]),
        NumberOfFrames=2,
        PerFrameFunctionalGroupsSequence=Sequence([group(32, 0), group(132, 100)]),
    )
    first, second = parse_image(data, frame=0), parse_image(data, frame=1)
    assert (first.window, second.window) == ((32.0, 64.0), (132.0, 64.0))
    assert (first.pixels == second.pixels).all()


def test_palette_is_applied_with_its_first_value_and_its_bits() -> None:
    def table(*entries: int) -> bytes:
        return np.array(entries, "<u2").tobytes()

    elements: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for colour, data in (
        ("Red", table(0, 0x8000, 0xFF00)),
        ("Green", table(0x0100, 0, 0)),
        ("Blue", table(0, 0, 0x0A00)),
    ):
        elements[f"{colour}PaletteColorLookupTableDescriptor"] = [3, 5, 16]
        elements[f"{colour}PaletteColorLookupTableData"] = data
    image = parse_image(dicom(line(0, 5, 6, 7, 255, dtype=np.uint8), **elements))
    assert image.pixels.reshape(-1, 3)[:5].tolist() == [
        [0, 1, 0],
        [0, 1, 0],
        [128, 0, 0],
        [255, 0, 10],
        [255, 0, 10],
    ]


def test_sixteen_bit_colour_is_scaled_by_its_bits() -> None:
    values = np.zeros((8, 8, 3), np.uint16)
    values[0, 0] = [0, 2048, 4095]
    data = dicom(
        values.reshape(8, 24),
        Columns=8,
        SamplesPerPixel=3,
        PlanarConfiguration=0,
        PhotometricInterpretation="RGB",
        BitsStored=12,
        HighBit=11,
    )
    assert parse_image(data).pixels[0, 0].tolist() == [0, 128, 255]


def test_unused_high_bits_do_not_count() -> None:
    dirty = RAMP | 0xF000
    clean = parse_image(dicom(RAMP, BitsStored=12, HighBit=11), window=(32, 64))
    image = parse_image(dicom(dirty, BitsStored=12, HighBit=11), window=(32, 64))
    assert (image.pixels == clean.pixels).all()


@pytest.mark.parametrize(
    "syntax",
    [
        uid.ImplicitVRLittleEndian,
        uid.ExplicitVRLittleEndian,
        uid.DeflatedExplicitVRLittleEndian,
        uid.ExplicitVRBigEndian,
    ],
)
def test_native_syntaxes_give_the_same_picture(syntax: str) -> None:
    values = RAMP.byteswap() if syntax == uid.ExplicitVRBigEndian else RAMP
    image = parse_image(dicom(values, syntax=syntax, WindowCenter=32, WindowWidth=64))
    assert (image.pixels == parse_image(dicom(RAMP), window=(32, 64)).pixels).all()


def test_deflated_bomb_is_refused_without_being_inflated() -> None:
    small = dicom(RAMP, syntax=uid.DeflatedExplicitVRLittleEndian)
    start = small.index(b"1.2.840.10008.1.2.1.99") + 22  # the last element of this meta group
    bomb = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = bomb.compress(b"\0" * 2**24) + bomb.flush()
    limits = ImageLimits(max_decoded_bytes=2**20)
    with pytest.raises(ImageTooLarge, match="after decoding"):
        parse_image(small[:start] + body, limits=limits)


def test_millions_of_sequence_items_are_refused_before_they_become_objects() -> None:
    items = b"\xfe\xff\x00\xe0\0\0\0\0" * 100_001
    sequence = b"\x08\x00\x40\x11SQ\0\0" + b"\xff" * 4 + items + b"\xfe\xff\xdd\xe0\0\0\0\0"
    data = dicom(RAMP)
    start = data.index(b"\x28\x00\x02\x00US")
    with pytest.raises(ImageTooLarge, match="items"):
        parse_image(data[:start] + sequence + data[start:])


def test_unsupported_transfer_syntax_is_named() -> None:
    data = dicom(RAMP).replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.7\0")
    with pytest.raises(TransferSyntaxUnsupported, match=r"1\.2\.840\.10008\.1\.2\.7") as caught:
        parse_image(data)
    assert caught.value.uid == "1.2.840.10008.1.2.7"


def test_multi_component_jpeg_2000_is_refused_not_half_decoded() -> None:
    data = dicom(RAMP, syntax=uid.JPEG2000MC, pixel_data=encapsulate([b"\xff\x4f"]))
    with pytest.raises(TransferSyntaxUnsupported, match=r"4\.93"):
        parse_image(data)


@pytest.mark.parametrize("syntax", [uid.JPEGLSLossless, uid.JPEGLSNearLossless])
def test_jpeg_ls_without_its_decoder_is_refused_with_the_package_named(
    monkeypatch: pytest.MonkeyPatch, syntax: str
) -> None:
    """Python 3.14 has no pyjpegls."""
    monkeypatch.setitem(sys.modules, "jpeg_ls", None)
    data = dicom(RAMP, syntax=syntax, pixel_data=encapsulate([b"\xff\xd8"]))
    with pytest.raises(TransferSyntaxUnsupported, match="pyjpegls is not installed") as caught:
        parse_image(data)
    assert caught.value.uid == syntax


def test_hostile_transfer_syntax_is_not_echoed() -> None:
    data = dicom(RAMP).replace(b"1.2.840.10008.1.2.1\0", b"<script>alert(1)</>\0")
    with pytest.raises(TransferSyntaxUnsupported) as caught:
        parse_image(data)
    assert "script" not in str(caught.value)


def test_object_without_pixels_is_refused() -> None:
    with pytest.raises(PixelsMissing):
        parse_image(no_pixels())


def no_pixels() -> bytes:
    dataset = Dataset()
    dataset.Modality = "SR"
    return written(dataset, uid.ExplicitVRLittleEndian)


@pytest.mark.parametrize(
    "elements",
    [
        {"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0},
        {"Modality": "SEG"},
        {"PhotometricInterpretation": "YBR_PARTIAL_420"},
        {"SamplesPerPixel": 4},
    ],
    ids=str,
)
def test_pixels_that_cannot_be_shown_faithfully_are_refused(elements: dict[str, Any]) -> None:
    with pytest.raises(PixelsUnsupported):
        parse_image(dicom(RAMP, **elements))


def test_float_pixels_must_be_finite() -> None:
    dataset = Dataset()
    dataset.SamplesPerPixel, dataset.Rows, dataset.Columns = 1, 8, 8
    dataset.PhotometricInterpretation, dataset.BitsAllocated = "MONOCHROME2", 32
    values = np.linspace(0, 1, 64, dtype=np.float32)
    dataset.FloatPixelData = values.tobytes()
    image = parse_image(written(dataset, uid.ExplicitVRLittleEndian))
    assert grey(image)[-1, -1] == 255
    values[5] = np.nan
    dataset.FloatPixelData = values.tobytes()
    with pytest.raises(ImageNotFinite):
        parse_image(written(dataset, uid.ExplicitVRLittleEndian))


def test_rescale_that_overflows_is_refused() -> None:
    data = dicom(RAMP, RescaleSlope="1e308", RescaleIntercept="1e308")
    with pytest.raises(ImageNotFinite):
        parse_image(data)


def test_frame_size_is_checked_before_decoding() -> None:
    with pytest.raises(ImageTooLarge):
        parse_image(dicom(RAMP, Rows=65535, Columns=65535))


@pytest.mark.parametrize("sides", [(8, 8), (65535, 65535), (1, 1)])
def test_codestream_of_another_size_is_refused(sides: tuple[int, int]) -> None:
    # SOC and SIZ of a JPEG 2000 stream that claims `sides`, in a frame of 16 × 16.
    width, height = (side.to_bytes(4, "big") for side in sides)
    siz = b"\0\0" + width + height + bytes(8) + width + height + bytes(8) + b"\0\1\7\1\1"
    stream = b"\xff\x4f\xff\x51" + (len(siz) + 2).to_bytes(2, "big") + siz + bytes(40)
    data = dicom(
        np.zeros((16, 16), np.uint8),
        syntax=uid.JPEG2000Lossless,
        pixel_data=encapsulate([stream]),
    )
    with pytest.raises(ImageBroken, match="16 × 16"):
        parse_image(data)


def test_rle_frame_longer_than_its_pixels_is_refused() -> None:
    data = dicom(
        np.zeros((16, 16), np.uint8), syntax=uid.RLELossless, pixel_data=encapsulate([bytes(5000)])
    )
    with pytest.raises(ImageBroken, match="RLE"):
        parse_image(data)


@pytest.mark.parametrize(
    "window", [(0, 0), (0, 0.5), (float("nan"), 10), (0, float("inf")), (1,), "wide", (True, 5)]
)
def test_window_that_cannot_be_applied_is_refused(window: Any) -> None:
    with pytest.raises(WindowInvalid):
        parse_image(dicom(RAMP), window=window)


def test_window_on_colour_is_refused_and_auto_is_left_out_with_a_note() -> None:
    data = dicom(
        np.zeros((8, 24), np.uint8),
        Columns=8,
        SamplesPerPixel=3,
        PlanarConfiguration=0,
        PhotometricInterpretation="RGB",
    )
    with pytest.raises(WindowInvalid, match="colour"):
        parse_image(data, window=(40, 400))
    image = parse_image(data, window="auto")
    assert "no window" in image.notes[0]
    assert image.window_origin == "none"


def test_decoder_messages_reach_no_log(caplog: pytest.LogCaptureFixture) -> None:
    data = dicom(RAMP, Rows=9)  # fewer bytes than the header says
    with caplog.at_level("DEBUG"), pytest.raises(ImageBroken) as caught:
        parse_image(data)
    assert caplog.records == []
    assert caught.value.__cause__ is None
