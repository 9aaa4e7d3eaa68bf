"""Real files: those that pydicom installs, and the odd formats beside the project."""

import json
import random
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pydicom
import pydicom.data
import pytest

from models.imaging import DecodedImage, ImageError, parse_image

NEEDS_JPEG_LS = pytest.mark.skipif(
    find_spec("jpeg_ls") is None,
    reason="no pyjpegls for this Python (make setup PYTHON=python3.13)",
)
# The code of each file that is refused.
REFUSED = {
    "bad/JPEG2000-embedded-sequence-delimiter.dcm": "image_broken",
    "bad/bomb_50000x50000.png": "image_too_large",
    "bad/broken.png": "image_broken",
    "bad/broken_data_stream.png": "image_broken",
    "bad/empty.png": "image_empty",
    "bad/float_nan_inf.tiff": "image_not_finite",
    "bad/fuzz_crash_2.tif": "image_broken",
    "bad/fuzz_crash_3.j2k": "pixels_unsupported",
    "bad/html_as.png": "image_format_unsupported",
    "bad/no_meta.dcm": "image_format_unsupported",
    "bad/not_enough_data.jp2": "image_broken",
    "bad/object_array.npy": "image_format_unsupported",
    "bad/one_pixel.png": "image_too_small",
    "bad/oom.tif": "image_broken",
    "bad/truncated_image.png": "image_broken",
    "good/ct_float64.npz": "image_format_unsupported",
    "good/emri_small_jpeg_2k_lossless.dcm": "frame_required",
    "good/examples_ybr_color.dcm": "frame_required",
    "good/liver_1frame.dcm": "pixels_unsupported",
    "good/tiff_16bit_RGB.tiff": "pixels_unsupported",
}


def spans_full_range(image: DecodedImage) -> bool:
    return (image.pixels.min(), image.pixels.max()) == (0, 255)


def is_upright_hopper(image: DecodedImage) -> bool:
    # The manifest's file turned upright shows the dark coat below and the grey wall above.
    return image.pixels[:20].mean() > image.pixels[-20:].mean()


# What must be seen in each file that is decoded: (source, window_origin, law).
DECODED: dict[str, tuple[str, str, Callable[[DecodedImage], bool]]] = {
    "bad/J2K_pixelrep_mismatch.dcm": (
        "dicom",
        "file",
        lambda image: "disagree about the sign" in image.notes[0],
    ),
    "bad/png_named.dcm": ("png", "none", spans_full_range),
    "good/12in16bit.tif": ("tiff", "percentile", spans_full_range),
    "good/JPGExtended.dcm": ("dicom", "percentile", spans_full_range),
    "good/JPGLosslessP14SV1_1s_1f_8b.dcm": ("dicom", "file", spans_full_range),
    "good/MR_small_RLE.dcm": ("dicom", "file", lambda image: image.window == (600, 1600)),
    "good/MR_small_bigendian.dcm": ("dicom", "file", lambda image: image.window == (600, 1600)),
    "good/RG1_J2KI.dcm": ("dicom", "file", lambda image: image.pixels.shape == (1955, 1841, 3)),
    "good/RG3_J2KI.dcm": ("dicom", "file", lambda image: image.pixels.shape == (1760, 1760, 3)),
    "good/SC_rgb_jpeg_dcmtk.dcm": (
        "dicom",
        "none",
        lambda image: image.pixels[5, 50].tolist()[0] > 250 and image.pixels[5, 50, 1:].max() < 5,
    ),
    "good/ct_16bit_grey.png": ("png", "percentile", spans_full_range),
    "good/ct_palette.png": ("png", "none", spans_full_range),
    "good/ct_rgba.png": (
        "png",
        "none",
        lambda image: image.notes == ("Alpha composited on black.",),
    ),
    "good/examples_palette.dcm": ("dicom", "none", lambda image: np.ptp(image.pixels, 2).max() > 9),
    "good/hopper_orientation_6.jpg": ("jpeg", "none", is_upright_hopper),
    "good/image_dfl.dcm": ("dicom", "none", spans_full_range),
    "good/pil_sample_cmyk.jpg": ("jpeg", "none", lambda image: "CMYK" in image.notes[0]),
}
NAMES = sorted(REFUSED | DECODED)


@pytest.fixture(scope="session")
def odd_formats(data_folder: Path) -> Path:
    return data_folder / "odd_formats"


def test_every_file_of_the_manifest_has_an_expectation(odd_formats: Path) -> None:
    manifest = json.loads((odd_formats / "manifest.json").read_text())
    assert sorted(entry["file"] for entry in manifest) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_odd_file_behaves_as_the_manifest_expects(odd_formats: Path, name: str) -> None:
    data = (odd_formats / name).read_bytes()
    if name in REFUSED:
        with pytest.raises(ImageError) as caught:
            parse_image(data)
        assert caught.value.code == REFUSED[name]
        assert Path(name).stem not in str(caught.value)
        return
    source, origin, law = DECODED[name]
    image = parse_image(data)
    assert (image.source, image.window_origin) == (source, origin)
    assert law(image)


@pytest.mark.parametrize("name", ["RG1_J2KI.dcm", "RG3_J2KI.dcm"])
def test_monochrome1_radiograph_is_inverted_after_its_window(odd_formats: Path, name: str) -> None:
    path = odd_formats / "good" / name
    dataset = pydicom.dcmread(path)
    centre, width = float(dataset.WindowCenter), float(dataset.WindowWidth)
    black = centre - 0.5 - (width - 1) / 2
    unit = np.clip((dataset.pixel_array - black) / (width - 1), 0, 1)
    expected = np.floor((1 - unit) * 255 + 0.5)
    assert (parse_image(path.read_bytes()).pixels == expected[:, :, None]).all()


def path_of(name: str) -> Path:
    path = pydicom.data.get_testdata_file(name, download=False)
    assert isinstance(path, str)
    return Path(path)


def installed(name: str) -> bytes:
    return path_of(name).read_bytes()


def test_ct_in_hounsfield_units_through_a_requested_window() -> None:
    stored = pydicom.dcmread(path_of("CT_small.dcm")).pixel_array.astype(float)
    image = parse_image(installed("CT_small.dcm"), window=(40, 400))
    unit = np.clip((stored - 1024 + 160) / 399, 0, 1)  # black to −160, white from 239
    assert (image.pixels[:, :, 0] == np.floor(unit * 255 + 0.5)).all()


@pytest.mark.parametrize(
    "name",
    [
        "MR_small_RLE.dcm",
        "MR_small_bigendian.dcm",
        "MR_small_implicit.dcm",
        "MR_small_jp2klossless.dcm",
        pytest.param("MR_small_jpeg_ls_lossless.dcm", marks=NEEDS_JPEG_LS),
        "MR_small_padded.dcm",
    ],
)
def test_lossless_encodings_of_one_picture_agree(name: str) -> None:
    expected = parse_image(installed("MR_small.dcm")).pixels
    assert (parse_image(installed(name)).pixels == expected).all()


@pytest.mark.parametrize(
    "name",
    [
        "SC_rgb_dcmtk_+eb+cr.dcm",
        "SC_rgb_gdcm_KY.dcm",
        pytest.param("SC_rgb_jls_lossy_line.dcm", marks=NEEDS_JPEG_LS),
        "SC_rgb_jpeg_dcmtk.dcm",
        "SC_rgb_jpeg_gdcm.dcm",
        "SC_rgb_jpeg_lossy_gdcm.dcm",
        "SC_rgb_rle_16bit.dcm",
        "SC_rgb_rle_32bit.dcm",
        "SC_ybr_full_422_uncompressed.dcm",
    ],
)
def test_colour_encodings_of_one_picture_agree(name: str) -> None:
    expected = parse_image(installed("SC_rgb_rle.dcm")).pixels.astype(int)
    found = parse_image(installed(name)).pixels.astype(int)
    # Inside the colour bars: chroma subsampling blurs their edges.
    assert np.percentile(abs(found - expected), 90) <= 3


def test_twelve_bit_extended_jpeg_is_decoded() -> None:
    image = parse_image(installed("JPGExtended.dcm"), window=(128, 256))
    # 420, 140 holds 244: (244 − 127.5)/255 + 0.5 = 0.95686 → 244
    assert image.pixels[420, 140, 0] == 244


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("MR_truncated.dcm", "image_broken"),
        ("liver_1frame.dcm", "pixels_unsupported"),
        ("meta_missing_tsyntax.dcm", "transfer_syntax_unsupported"),
        ("no_meta.dcm", "image_format_unsupported"),
        ("rtplan.dcm", "pixels_missing"),
        ("rtdose.dcm", "frame_required"),
        ("SC_rgb_small_odd.dcm", "image_too_small"),
        ("test-SR.dcm", "pixels_missing"),
    ],
)
def test_installed_file_that_is_no_picture_is_refused(name: str, code: str) -> None:
    with pytest.raises(ImageError) as caught:
        parse_image(installed(name))
    assert caught.value.code == code


FUZZED = [
    "CT_small.dcm",
    "MR_small_RLE.dcm",
    "MR_small_jp2klossless.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "SC_rgb_jpeg_dcmtk.dcm",
    "image_dfl.dcm",
    "rtdose.dcm",
]


@pytest.mark.long
@pytest.mark.parametrize("seed", range(4))
def test_damaged_files_end_in_an_image_or_an_image_error(seed: int) -> None:
    source = random.Random(seed)
    files = [installed(name) for name in FUZZED]
    for turn in range(150):
        data = damaged(files[turn % len(files)], source)
        try:
            image = parse_image(data, frame=source.choice([None, 0]))
        except ImageError:
            continue
        assert image.pixels.dtype == np.uint8


def damaged(data: bytes, source: random.Random) -> bytes:
    """Some bytes changed, dropped or doubled; mostly where headers are."""
    changed = bytearray(data)
    for _ in range(source.choice([1, 2, 10])):
        end = source.choice([min(len(changed), 2000), len(changed)])
        place = source.randrange(132 if source.random() < 0.9 else 0, end)
        kind = source.random()
        if kind < 0.8:
            changed[place] = source.choice([0, 255, source.randrange(256)])
        elif kind < 0.9:
            del changed[place : place + source.choice([1, 4, 100])]
        else:
            changed[place:place] = changed[place : place + 40]
    return bytes(changed)


def test_threads_take_turns_and_leave_the_warning_filters_alone() -> None:
    data = installed("MR_small_padded.dcm")
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as threads:
        images = list(threads.map(parse_image, [data] * 32))
    assert all("longer than its size" in image.notes[0] for image in images)
    assert warnings.filters == before
