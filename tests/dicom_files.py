"""DICOM files made here, sound and broken, for the tests of imaging."""

import io
import struct
from typing import Any

import numpy as np
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset

RAMP = np.arange(64, dtype=np.uint16).reshape(8, 8)
SYNTAXES = [uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian]
COLOURS = np.random.default_rng(5).integers(0, 256, (40, 48, 3)).astype(np.uint8)


def dicom(
    values: np.ndarray,
    *,
    syntax: str = uid.ExplicitVRLittleEndian,
    pixel_data: bytes | None = None,
    **elements: Any,
) -> bytes:
    """A DICOM file of one grey frame with these stored values and further elements."""
    dataset = Dataset()
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = values.shape[-2:]
    dataset.BitsAllocated = 8 * values.itemsize
    dataset.BitsStored, dataset.HighBit = dataset.BitsAllocated, dataset.BitsAllocated - 1
    dataset.PixelRepresentation = int(values.dtype.kind == "i")
    dataset.PixelData = values.tobytes() if pixel_data is None else pixel_data
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    dataset["PixelData"].VR = "OB" if pixel_data is not None else "OW"
    if pixel_data is not None:
        dataset["PixelData"].is_undefined_length = True
    return written(dataset, syntax)


def written(dataset: Dataset, syntax: str) -> bytes:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPClassUID = uid.SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset.file_meta = meta
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


def base(values: np.ndarray) -> Dataset:
    """A data set of one grey frame of 16 bits with a window, to leave out or change elements of."""
    dataset = Dataset()
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = values.shape
    dataset.BitsAllocated, dataset.BitsStored = 16, 16
    dataset.PixelRepresentation = 0
    dataset.WindowCenter, dataset.WindowWidth = 32, 64
    dataset.PixelData = values.tobytes()
    dataset["PixelData"].VR = "OW"
    return dataset


def in_order(values: np.ndarray, syntax: str) -> np.ndarray:
    """Words in the byte order of a transfer syntax."""
    return values.byteswap() if syntax == uid.ExplicitVRBigEndian else values


def grey(image: Any) -> np.ndarray:
    """The one channel of a picture whose three are equal."""
    assert (image.pixels == image.pixels[:, :, :1]).all()
    return image.pixels[:, :, 0]


def line(*values: float, dtype: type = np.int16) -> np.ndarray:
    """8 × 8 pixels that begin with these values."""
    pixels = np.zeros(64, dtype)
    pixels[: len(values)] = values
    return pixels.reshape(8, 8)


def element(tag: int, vr: str, value: bytes, *, order: str = "<", long: bool = False) -> bytes:
    """An explicit element, its length in 32 bits if `long`; an implicit one if `vr` is empty."""
    head = struct.pack(order + "HH", tag >> 16, tag & 0xFFFF)
    if not vr:
        return head + struct.pack(order + "I", len(value)) + value
    if long:
        return head + vr.encode() + b"\0\0" + struct.pack(order + "I", len(value)) + value
    return head + vr.encode() + struct.pack(order + "H", len(value)) + value


def insert(data: bytes, added: bytes, before: bytes = b"\x28\x00\x10\x00US") -> bytes:
    """A file with these bytes before the first element that starts like this."""
    start = data.index(before, 132)
    return data[:start] + added + data[start:]
