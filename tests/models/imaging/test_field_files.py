"""The files of the field beside the project: each is shown as its manifest expects, or refused.

Where the manifest has a picture, ours is within two grey levels of it. Its HTTP requests,
checkpoints and folders are tested in the rooms that read them.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from models.imaging import ImageError, parse_image

NOTED = {  # what a note says
    "voi_bits16_data12.dcm": "12 were used",
    "intercept_without_slope.dcm": "RescaleSlope is absent",
    "slope2_without_intercept.dcm": "RescaleIntercept is absent",
    "bot_zeros.dcm": "fragments were counted",
    "j2k_mct_labelled_ybr422.dcm": "multiple component transform",
    "window_comma.dcm": "decimal comma",
    "window_garbage.dcm": "cannot be used",
    "missing_PixelRepresentation.dcm": "PixelRepresentation is absent",
    "exif_makernote_gone.jpg": "EXIF",
}
REFUSED = {  # the code, and what the sentence says
    "cut_in_header.dcm": ("image_broken", "incomplete"),
    "cut_before_pixeldata.dcm": ("pixels_missing", "may have been cut"),
    "u8_webp.tif": ("pixels_unsupported", "WEBP"),
    "12bit.jpg": ("pixels_unsupported", "12 bits"),
    "encapsulated_under_native.dcm": ("image_broken", "transfer syntax 1.2.840.10008.1.2.1"),
}


@pytest.fixture(scope="session")
def field_files(data_folder: Path) -> Path:
    return data_folder / "field_files"


def list_pictures(folder: Path) -> list[dict[str, Any]]:
    entries = json.loads((folder / "manifest.json").read_text())
    return [entry for entry in entries if entry["file"].endswith((".dcm", ".tif", ".jpg"))]


def test_every_picture_of_the_field_is_shown_right_or_refused(field_files: Path) -> None:
    wrong = []
    for entry in list_pictures(field_files):
        if reason := find_fault(field_files, entry):
            wrong.append(f"{entry['fault']} {entry['file']}: {reason}")
    assert not wrong, "\n".join(wrong)


def find_fault(folder: Path, entry: dict[str, Any]) -> str:
    """What is wrong about how a file is shown or refused; empty if nothing is."""
    name = entry["file"]
    try:
        image = parse_image((folder / name).read_bytes(), frame=entry.get("frame", 0))
    except ImageError as error:
        code, said = REFUSED.get(name, ("", ""))
        right = error.code == code and said in str(error)
        return "" if right else f"refused: {error}"
    if name in REFUSED:
        return "shown"
    if NOTED.get(name, "") not in " ".join(image.notes):
        return f"notes {image.notes}"
    if "expected_picture" not in entry:
        return ""
    expected = np.asarray(Image.open(folder / entry["expected_picture"]).convert("RGB"))
    if expected.shape != image.pixels.shape:
        return f"shape {image.pixels.shape}"
    most = int(abs(expected.astype(int) - image.pixels).max())
    return "" if most <= 2 else f"{most} levels apart"
