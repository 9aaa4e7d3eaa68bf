"""A file that ends too early is refused. It is never taken for a smaller or a coarser picture."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom.data import get_testdata_file

from models.imaging import ImageError
from models.imaging.parse import parse_image
from models.imaging.pixels.errors import FrameOutOfRange

STILL = {
    "png": {"format": "PNG"},
    "png-interlaced-by-nobody": {"format": "PNG", "compress_level": 0},
    "jpeg": {"format": "JPEG", "quality": 90},
    "jpeg-progressive": {"format": "JPEG", "progressive": True},
    "jpeg-2000": {"format": "JPEG2000"},
    "jpeg-2000-layers": {"format": "JPEG2000", "quality_layers": [40, 20, 5]},
    "webp": {"format": "WEBP"},
    "webp-lossless": {"format": "WEBP", "lossless": True},
    "tiff": {"format": "TIFF"},
    "tiff-lzw": {"format": "TIFF", "compression": "tiff_lzw"},
    "tiff-deflate": {"format": "TIFF", "compression": "tiff_adobe_deflate"},
}
DICOM = (
    "CT_small.dcm",
    "MR_small_RLE.dcm",
    "JPEG2000.dcm",
    "JPEG-lossy.dcm",
    "MR_small_jp2klossless.dcm",
)
SHARES = (0.2, 0.5, 0.8, 0.9, 0.97, 0.99)


def encode(options: dict[str, object]) -> bytes:
    file, rng = BytesIO(), np.random.default_rng(3)
    steps = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
    pixels = np.kron(steps, np.ones((16, 16, 1), dtype=np.uint8)) ^ rng.integers(
        0, 9, (96, 96, 3), dtype=np.uint8
    )
    Image.fromarray(pixels).save(file, **options)
    return file.getvalue()


def read_dicom(name: str) -> bytes:
    path = get_testdata_file(name)
    assert isinstance(path, str)
    return Path(path).read_bytes()


FILES = {**{name: encode(options) for name, options in STILL.items()}}


@pytest.mark.parametrize("name", [*STILL, *DICOM])
def test_a_file_that_ends_too_early_is_refused_or_the_same_picture(name: str) -> None:
    data = FILES[name] if name in FILES else read_dicom(name)
    whole = parse_image(data).pixels
    lengths = {int(len(data) * share) for share in SHARES} | {len(data) - n for n in (1, 2, 9, 40)}
    for length in sorted(lengths):
        try:
            cut = parse_image(data[:length]).pixels
        except ImageError:
            continue
        assert np.array_equal(cut, whole), f"{name} cut to {length} of {len(data)} bytes"


@pytest.mark.parametrize("name", STILL)
def test_a_frame_that_the_file_does_not_have_is_refused(name: str) -> None:
    assert parse_image(FILES[name], frame=0).frame == 0
    with pytest.raises(FrameOutOfRange, match="no frame or 0"):
        parse_image(FILES[name], frame=5)
