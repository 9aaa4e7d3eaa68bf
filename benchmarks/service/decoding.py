"""What decoding in a separate process costs per image: python benchmarks/service/decoding.py

Each file is prepared in this process and through a decoder, in turns. Writes results/decoding.json
beside this file.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom.data
from PIL import Image

from models.catalogue import load_catalogue
from models.imaging import Decoder, prepare
from models.imaging.dicom import image as _loaded_once  # noqa: F401

RESULTS = Path(__file__).parents[1] / "results" / "decoding.json"


def make_files() -> dict[str, bytes]:
    """A small and a large picture, and typical DICOM files."""
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (64, 64, 3)).astype(np.uint8)
    picture = Image.fromarray(coarse).resize((512, 512), Image.Resampling.BICUBIC)
    large = picture.resize((4000, 3000), Image.Resampling.BICUBIC)
    files = {
        "PNG, RGB, 512 × 512": _encode(picture, "PNG"),
        "JPEG, RGB, 4000 × 3000": _encode(large, "JPEG"),
        "PNG, RGB, 4000 × 3000": _encode(large, "PNG"),
    }
    for name, what in (
        ("CT_small.dcm", "DICOM, uncompressed, 128 × 128"),
        ("693_J2KI.dcm", "DICOM, JPEG 2000, 512 × 512"),
        ("JPGExtended.dcm", "DICOM, 12-bit JPEG, 1024 × 256"),
    ):
        path = pydicom.data.get_testdata_file(name, download=False)
        files[what] = Path(str(path)).read_bytes()
    return files


def _encode(image: Image.Image, format_: str) -> bytes:
    file = BytesIO()
    image.save(file, format_)
    return file.getvalue()


def measure(data: bytes, ways: dict[str, Callable[[bytes], Any]], rounds: int) -> dict[str, Any]:
    """The median milliseconds of each way, taken in turns."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            began = time.perf_counter()
            way(data)
            taken[name].append(1000 * (time.perf_counter() - began))
    medians = {name: round(statistics.median(times), 2) for name, times in taken.items()}
    return {"file_bytes": len(data), **medians}


def main() -> None:
    """Measures all files and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    rounds = parser.parse_args().rounds
    preprocessing = load_catalogue().get("bundled-2").preprocessing
    with Decoder() as decoder:
        began = time.perf_counter()
        decoder.prepare(make_files()["PNG, RGB, 512 × 512"], preprocessing)
        start_s = time.perf_counter() - began
        ways = {
            "here_ms": lambda data: prepare(data, preprocessing),
            "apart_ms": lambda data: decoder.prepare(data, preprocessing),
        }
        rows = {name: measure(data, ways, rounds) for name, data in make_files().items()}
    for row in rows.values():
        row["added_ms"] = round(row["apart_ms"] - row["here_ms"], 2)
    found = {
        "machine": platform.machine(),
        "python": platform.python_version(),
        "rounds": rounds,
        "start_s": round(start_s, 2),
        "files": rows,
    }
    RESULTS.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    print(RESULTS.read_text())  # noqa: T201


if __name__ == "__main__":
    main()
