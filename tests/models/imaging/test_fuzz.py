"""A short run of the fuzz target; `make test-fuzz` runs the long one. What it found stays below."""

import json
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_files import dicom
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate, get_frame

from models.catalogue.cards import Preprocessing
from models.imaging import Decoder, DecodingBounds, ImageBroken

PREPROCESSING = Preprocessing(size=64, mean=(0.5,) * 3, std=(0.5,) * 3)
FUZZ = Path(__file__).parents[2] / "fuzz" / "fuzz_images.py"


def test_mutations_of_good_files_end_in_an_image_or_a_refusal() -> None:
    run = subprocess.run(
        [sys.executable, str(FUZZ), "--inputs", "120", "--seed", "7"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    found = json.loads(run.stdout)
    assert found["inputs"] == 120
    assert {"image", "image_broken"} <= set(found["outcomes"])
    assert found["largest_bytes"] < 10**9


def _twelve_bit_jpeg(*, before_tables: bytes) -> bytes:
    """A DICOM file of 12-bit JPEG with these bytes before its Huffman tables."""
    dataset = pydicom.dcmread(str(get_testdata_file("JPGExtended.dcm", download=False)))
    stream = get_frame(dataset.PixelData, 0, number_of_frames=1)
    tables = stream.index(b"\xff\xc4")
    dataset.PixelData = encapsulate([stream[:tables] + before_tables + stream[tables:]])
    file = BytesIO()
    dataset.save_as(file)
    return file.getvalue()


def test_junk_between_segments_is_refused_before_gdcm_ends_its_process(decoder: Decoder) -> None:
    with pytest.raises(ImageBroken):
        decoder.prepare(_twelve_bit_jpeg(before_tables=b"abc"), PREPROCESSING)


def test_fill_bytes_between_segments_change_nothing(decoder: Decoder) -> None:
    plain, filled = (
        decoder.prepare(_twelve_bit_jpeg(before_tables=fill), PREPROCESSING).input
        for fill in (b"", b"\xff\xff")
    )
    assert np.array_equal(plain, filled)


def test_jpeg_ls_stream_without_its_end_is_refused_before_its_decoder_counts_on() -> None:
    pytest.importorskip("jpeg_ls", reason="no wheel for this Python")
    head = "ffd8fff7000b08002d000a01011100ffda000801010002000057fdff7f"
    cut = bytes.fromhex(head + "00000071ff7fe0b734332e382e3439382e")[:45]
    data = dicom(
        np.zeros((45, 10), np.uint8),
        syntax=pydicom.uid.JPEGLSNearLossless,
        pixel_data=encapsulate([cut]),
    )
    with Decoder(bounds=DecodingBounds(timeout_s=2)) as brief, pytest.raises(ImageBroken):
        brief.prepare(data, PREPROCESSING)
