"""Our decoder beside two independent ones, over every image file that installed packages bring.

References: SimpleITK (ITK with GDCM) for DICOM, and tifffile with imagecodecs for TIFF and the
other rasters. Both give stored or rescaled values. The window, palette or full range that our
result names is applied to them here, so that decoding is compared and not the choice of a window.

    python -m pip install -e '.[benchmark]'
    python benchmarks/service/decoders.py [FOLDER ...]

Further folders of files may be named. Writes benchmarks/results/decoders.json and decoders.md.
"""

import argparse
import io
import json
import sys
import sysconfig
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from models.imaging import DecodedImage, ImageError, parse_image

RESULTS = Path(__file__).parents[1] / "results"
SUFFIXES = {
    *(".dcm", ".tif", ".tiff", ".png", ".jpg", ".jpeg", ".jp2", ".j2k", ".jpx", ".webp", ".svs"),
}
MOST = 2  # grey levels
EXPLAINED = (
    json.loads((RESULTS / "decoders-explained.json").read_text())
    if (RESULTS / "decoders-explained.json").is_file()
    else {}
)


def list_files(folders: list[Path]) -> Iterator[Path]:
    """Every image file of the installed packages, and of further folders."""
    for folder in (Path(sysconfig.get_paths()["purelib"]), *folders):
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.suffix.lower() in SUFFIXES:
                yield path


def decode_ours(data: bytes) -> tuple[DecodedImage | None, str]:
    """Our picture of the first frame, or the code and sentence of its refusal."""
    try:
        return parse_image(data, frame=0), ""
    except ImageError as error:
        return None, f"{error.code}: {error}"


def read_with_itk(path: Path, frame: int) -> np.ndarray:
    """ITK's values of a frame after rescale: (H, W) or (H, W, 3)."""
    import SimpleITK

    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(path))
    reader.SetImageIO("GDCMImageIO")
    values = SimpleITK.GetArrayFromImage(reader.Execute())
    colour = reader.GetNumberOfComponents() > 1
    return values[frame] if values.ndim == (4 if colour else 3) else values


def read_with_imagecodecs(path: Path, frame: int) -> np.ndarray:
    """imagecodecs' values: (H, W) or (H, W, samples)."""
    import imagecodecs
    import tifffile

    if path.suffix.lower() in (".tif", ".tiff", ".svs"):
        with tifffile.TiffFile(path) as file:
            return read_page(file.pages[frame])
    return np.asarray(imagecodecs.imread(path))


def read_page(page: Any) -> np.ndarray:
    """A TIFF page with its palette applied and its samples last."""
    values = page.asarray()
    if page.photometric == 3 and page.colormap is not None:
        return np.moveaxis((page.colormap >> 8).astype(np.uint8)[:, values], 0, -1)
    if page.photometric == 0 and page.bitspersample <= 8:
        values = 2**page.bitspersample - 1 - values
    if page.planarconfig == 2 and values.ndim == 3:
        values = np.moveaxis(values, 0, -1)
    return values


def show(values: np.ndarray, image: DecodedImage) -> np.ndarray:
    """A reference's values as our result says that they were shown; (H, W, 3)."""
    if values.ndim == 3 and values.shape[2] in (2, 4):
        colours, alpha = values[..., :-1].astype(float), values[..., -1:] / 255
        values = np.floor(colours * alpha + 0.5) if "Alpha" in " ".join(image.notes) else colours
    grey = values if values.ndim == 2 else values[..., 0]
    if values.ndim == 3 and values.shape[2] == 3:
        return scale_colour(values)
    if image.window is None:
        top = 1 if grey.dtype == bool else 255
        shown = np.clip(grey.astype(float) / top * 255, 0, 255)
    else:
        centre, width = image.window
        black = centre - 0.5 - (width - 1) / 2
        shown = np.clip((grey.astype(float) - black) / max(width - 1, 1e-9), 0, 1) * 255
    return np.repeat(np.floor(shown + 0.5)[..., None], 3, axis=2)


def scale_colour(values: np.ndarray) -> np.ndarray:
    if values.dtype.kind != "u":
        return values.astype(float)
    return np.floor(values / np.iinfo(values.dtype).max * 255 + 0.5)


def compare(path: Path, image: DecodedImage) -> dict[str, Any]:
    """How far the reference's picture is from ours."""
    read: Callable[[Path, int], np.ndarray] = (
        read_with_itk if image.source == "dicom" else read_with_imagecodecs
    )
    try:
        reference = show(read(path, image.frame), image)
    except Exception as error:  # a reference may refuse anything, and raise what it likes
        return {"reference": f"refused: {type(error).__name__}"}
    if reference.shape != image.pixels.shape:
        return {"reference": f"another size: {reference.shape[:2]}"}
    apart = np.abs(reference - image.pixels)
    inverted = np.abs(255 - reference - image.pixels)
    if inverted.max() <= MOST < apart.max():  # MONOCHROME1 and WhiteIsZero are inverted by us
        return {"reference": "equal", "most": float(inverted.max()), "inverted": True}
    same = "equal" if apart.max() <= MOST else "different"
    return {"reference": same, "most": float(apart.max()), "mean": round(float(apart.mean()), 3)}


def main() -> int:
    """Compares all files, and writes what came out."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("folders", nargs="*", type=Path)
    options.add_argument("--results", type=Path, default=RESULTS)
    asked = options.parse_args()
    warnings.simplefilter("ignore")
    rows, seen = [], set[bytes]()
    for path in list_files(asked.folders):
        data = path.read_bytes()
        if data in seen:
            continue
        seen.add(data)
        image, refusal = decode_ours(data)
        row: dict[str, Any] = {"file": path.name}
        row |= {"refused": refusal} if image is None else {"source": image.source}
        if image is not None:
            row |= compare(path, image)
        if path.name in EXPLAINED:
            row["why"] = EXPLAINED[path.name]
        rows.append(row)
    write(rows, asked.results)
    return 0


def write(rows: list[dict[str, Any]], folder: Path) -> None:
    packages = ("pydicom", "pillow", "tifffile", "imagecodecs", "SimpleITK")
    found = Counter(row.get("reference", "refused by us").split(":")[0] for row in rows)
    shown = [row for row in rows if "refused" not in row]
    compared = [row for row in shown if row["reference"] in ("equal", "different")]
    equal = [row for row in compared if row["reference"] == "equal"]
    summary = {
        "date": datetime.now(UTC).date().isoformat(),
        "versions": {name: version(name) for name in packages},
        "files": len(rows),
        "shown": len(shown),
        "compared": len(compared),
        "equal_within_2_levels": len(equal),
        "outcomes": dict(found.most_common()),
    }
    (folder / "decoders.json").write_text(
        json.dumps({"summary": summary, "files": rows}, indent=1, ensure_ascii=False) + "\n"
    )
    (folder / "decoders.md").write_text(format_report(summary, rows))
    print(json.dumps(summary, indent=1))  # noqa: T201


def format_report(summary: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """The summary and each difference, as Markdown."""
    share = summary["shown"] / summary["files"]
    same = summary["equal_within_2_levels"] / max(1, summary["compared"])
    out = io.StringIO()
    out.write("# Our decoder beside two others\n\n")
    out.write(
        f"`python benchmarks/service/decoders.py`, {summary['date']}: {summary['files']} different "
    )
    out.write("files that installed packages bring. ")
    out.write(f"Shown: {summary['shown']} ({share:.1%}). ")
    out.write(f"Compared with a reference that reads the file: {summary['compared']}. ")
    out.write(
        f"Equal within 2 of 255 grey levels: {summary['equal_within_2_levels']} ({same:.1%})."
    )
    out.write("\n\n| file | apart, most | why |\n|---|---|---|\n")
    for row in rows:
        if row.get("reference") == "different":
            why = row.get("why", "not explained")
            out.write(f"| {row['file']} | {row['most']:g} | {why} |\n")
    out.write("\nRefused, or not read by the reference:\n\n| file | what |\n|---|---|\n")
    for row in rows:
        if "refused" in row:
            out.write(f"| {row['file']} | {row['refused'][:120]} |\n")
        elif row["reference"] not in ("equal", "different"):
            out.write(f"| {row['file']} | shown; reference {row['reference']} |\n")
    return out.getvalue()


if __name__ == "__main__":
    sys.exit(main())
