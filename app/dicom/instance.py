"""What rules need to know of a DICOM object, read from untrusted bytes."""

import re
import zlib
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filereader import _read_file_meta_info, read_preamble
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

_PIECE, _MOST_INFLATED = 2**20, 256 * 2**20  # bytes; the decoder's own limit
_UID = re.compile(r"[0-9.]{1,64}")
_KEYWORDS = [
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "Modality",
    "BodyPartExamined",
    "SeriesDescription",
    "InstanceNumber",
    "NumberOfFrames",
    "Manufacturer",
]
MANUFACTURER = "PromptSmooth service"
"""Of every result of a node."""


class InstanceUnreadable(ValueError):
    """The bytes are no DICOM object that can be told from others."""


@dataclass(frozen=True, kw_only=True)
class Instance:
    """The identity of an object, and what rules match on. Texts are empty where there is none."""

    sop_class_uid: str
    sop_instance_uid: str
    study_uid: str
    series_uid: str
    modality: str = ""
    body_part: str = ""
    series_description: str = ""
    number: int = 0
    frames: int = 1
    is_result: bool = False

    @property
    def is_image(self) -> bool:
        """Whether its SOP class is one of images."""
        return "Image Storage" in UID(self.sop_class_uid).name


def read_instance(path: Path) -> Instance:
    """Reads a DICOM file up to its pixels.

    Raises:
        InstanceUnreadable: it is no such file, or lacks a UID.
    """
    try:
        _check_inflated(path)
        found = dcmread(path, stop_before_pixels=True, specific_tags=_KEYWORDS)
        return _describe(found)
    except InstanceUnreadable:
        raise
    except Exception as error:  # a hostile file raises whatever its elements make pydicom raise
        raise InstanceUnreadable("this is no DICOM object that can be read") from error


def _check_inflated(path: Path) -> None:
    """Refuses a deflated data set that would fill the memory: pydicom inflates all of it."""
    with path.open("rb") as file:
        read_preamble(file, force=False)
        syntax = _read_file_meta_info(file).get("TransferSyntaxUID")
        if syntax != DeflatedExplicitVRLittleEndian:
            return
        inflating, pieces = (
            zlib.decompressobj(-zlib.MAX_WBITS),
            iter(lambda: file.read(_PIECE), b""),
        )
        inflated = 0
        for piece in pieces:
            while piece and inflated <= _MOST_INFLATED:
                inflated += len(inflating.decompress(piece, _PIECE))
                piece = inflating.unconsumed_tail
        if inflated > _MOST_INFLATED:
            raise InstanceUnreadable("the object is too long when it is inflated")


def _describe(found: Dataset) -> Instance:
    uids = [_text(found, keyword) for keyword in _KEYWORDS[:4]]
    if not all(map(_UID.fullmatch, uids)):
        raise InstanceUnreadable("the object has not all of its UIDs")
    return Instance(
        sop_class_uid=uids[0],
        sop_instance_uid=uids[1],
        study_uid=uids[2],
        series_uid=uids[3],
        modality=_text(found, "Modality"),
        body_part=_text(found, "BodyPartExamined"),
        series_description=_text(found, "SeriesDescription"),
        number=read_number(found, "InstanceNumber", 0),
        frames=max(1, read_number(found, "NumberOfFrames", 1)),
        is_result=_text(found, "Manufacturer") == MANUFACTURER,
    )


def _text(found: Dataset, keyword: str) -> str:
    value = found.get(keyword)
    return "" if value is None else str(value).strip()


def read_number(found: Dataset, keyword: str, default: int) -> int:
    """The value of an element; the default where it is none or no whole number."""
    try:
        return int(found.get(keyword, default))
    except (TypeError, ValueError):
        return default
