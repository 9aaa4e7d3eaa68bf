"""Copies the demonstration's images from the public sets into app/web/examples.

    python examples/make_images.py --data DIR

The page offers these images, and the demo certifies them. None of them is in a train folder. The CT
is a MedNIST slice that this script wraps as a DICOM secondary capture, pixel for pixel: MedNIST
holds JPEG files only.
"""

import argparse
import json
import shutil
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

FOLDER = Path(__file__).parents[1] / "app" / "web" / "examples"


def wrap_as_dicom(picture: Path, path: Path) -> None:
    """Writes a grey picture as a DICOM file that says where it comes from. No patient is named."""
    grey = np.asarray(Image.open(picture).convert("L"))  # (H, W)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[picture.name])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = FileDataset(str(path), Dataset(), file_meta=meta, preamble=b"\0" * 128)
    file.SOPClassUID = SecondaryCaptureImageStorage
    file.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    file.Modality, file.ConversionType = "OT", "WSD"
    file.DerivationDescription = f"MedNIST {picture.parent.name}/{picture.name}, CC BY-SA 4.0"
    file.Rows, file.Columns = grey.shape
    file.SamplesPerPixel, file.PhotometricInterpretation = 1, "MONOCHROME2"
    file.BitsAllocated = file.BitsStored = 8
    file.HighBit, file.PixelRepresentation = 7, 0
    file.PixelData = grey.tobytes()
    file.save_as(path, enforce_file_format=True)


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the image sets")
    data = parser.parse_args().data
    for one in json.loads((FOLDER / "examples.json").read_text("utf-8")):
        source, path = data / one["from"], FOLDER / one["file"]
        if path.suffix == ".dcm":
            wrap_as_dicom(source, path)
            Image.open(source).save(path.with_suffix(".png"))  # what the page shows of it
        else:
            shutil.copyfile(source, path)
        print(f"{path.name}: {one['class']}, from {one['from']}")


if __name__ == "__main__":
    main()
