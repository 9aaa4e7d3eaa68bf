"""Compressed streams of DICOM files: three frames of one level each, and what fragments need."""

import io
import struct
from typing import Any

import numpy as np
import openjpeg.utils
from PIL import Image
from pydicom import uid


def jpeg(picture: np.ndarray, **options: Any) -> bytes:
    """A JPEG stream of a picture, uint8 (H, W) or (H, W, 3)."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=95, **options)
    return file.getvalue()


PICTURES = [np.full((40, 48), level, np.uint8) for level in (40, 120, 200)]
STREAMS = {
    uid.JPEGBaseline8Bit: [jpeg(picture) for picture in PICTURES],
    uid.JPEG2000Lossless: [openjpeg.utils.encode_array(picture) for picture in PICTURES],
}


def fragment_item(body: bytes) -> bytes:
    """A fragment as an item of the pixel data."""
    return b"\xfe\xff\x00\xe0" + struct.pack("<I", len(body)) + body


def even(stream: bytes) -> bytes:
    """A stream filled up to an even length."""
    return stream + b"\0" * (len(stream) % 2)


END = b"\xfe\xff\xdd\xe0\0\0\0\0"
