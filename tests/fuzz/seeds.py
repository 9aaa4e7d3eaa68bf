"""Good files of every format, to begin from."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openjpeg.utils
import pydicom.data
from PIL import Image

LARGEST = 250_000  # bytes; a large file takes long and teaches no more
INSTALLED = [
    "693_J2KI.dcm",
    "CT_small.dcm",
    "ExplVR_BigEnd.dcm",
    "JPEG2000.dcm",
    "JPEGLSNearLossless_08.dcm",
    "JPEGLSNearLossless_16.dcm",
    "JPGExtended.dcm",
    "MR_small.dcm",
    "MR_small_RLE.dcm",
    "MR_small_bigendian.dcm",
    "MR_small_implicit.dcm",
    "MR_small_jp2klossless.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "SC_rgb_dcmtk_+eb+cy+np.dcm",
    "SC_rgb_gdcm_KY.dcm",
    "SC_rgb_jls_lossy_sample.dcm",
    "SC_rgb_jpeg_dcmtk.dcm",
    "SC_rgb_jpeg_gdcm.dcm",
    "SC_rgb_rle.dcm",
    "SC_rgb_rle_16bit_2frame.dcm",
    "examples_jpeg2k.dcm",
    "examples_palette.dcm",
    "examples_ybr_color.dcm",
    "image_dfl.dcm",
    "liver_1frame.dcm",
    "rtdose_rle.dcm",
]


def load_seeds(folders: Sequence[Path]) -> dict[str, bytes]:
    """Files by their names: made here, installed with pydicom, and those of folders."""
    seeds = dict(_made())
    for name in INSTALLED:
        path = pydicom.data.get_testdata_file(name, download=False)
        if isinstance(path, str):
            seeds[name] = Path(path).read_bytes()
    for folder in folders:
        found = sorted(folder.iterdir()) if folder.is_dir() else []
        seeds |= {path.name: path.read_bytes() for path in found if path.is_file()}
    return {name: data for name, data in seeds.items() if len(data) <= LARGEST}


def _made() -> dict[str, bytes]:
    random = np.random.default_rng(0)
    rgb = Image.fromarray(random.integers(0, 256, (32, 40, 3)).astype(np.uint8))
    grey = np.linspace(0, 65535, 32 * 40).astype(np.uint16).reshape(32, 40)
    exif = Image.Exif()
    exif[274], exif[270] = 6, "a description"
    pages = [Image.fromarray(grey), Image.fromarray(grey[::-1].copy())]
    return {
        "rgb.png": _encode(rgb, "PNG", exif=exif),
        "palette.png": _encode(rgb.quantize(16), "PNG", transparency=3),
        "rgba.png": _encode(rgb.convert("RGBA"), "PNG"),
        "grey16.png": _encode(Image.fromarray(grey), "PNG"),
        "rgb.jpg": _encode(rgb, "JPEG", exif=exif),
        "progressive.jpg": _encode(rgb, "JPEG", progressive=True),
        "cmyk.jpg": _encode(rgb.convert("CMYK"), "JPEG"),
        "rgb.tif": _encode(rgb, "TIFF"),
        "big.tif": _encode(rgb, "TIFF", big_tiff=True),
        "lzw.tif": _encode(rgb, "TIFF", compression="tiff_lzw"),
        "deflate.tif": _encode(Image.fromarray(grey), "TIFF", compression="tiff_adobe_deflate"),
        "jpeg.tif": _encode(rgb, "TIFF", compression="jpeg"),
        "int16.tif": _encode(
            Image.fromarray(grey.astype(np.int32)), "TIFF", compression="tiff_lzw"
        ),
        "group4.tif": _encode(rgb.convert("1"), "TIFF", compression="group4"),
        "float.tif": _encode(Image.fromarray(grey.astype(np.float32)), "TIFF"),
        "pages.tif": _encode(pages[0], "TIFF", save_all=True, append_images=pages[1:]),
        "rgb.jp2": _encode(rgb, "JPEG2000", irreversible=False),
        "lossy.jp2": _encode(rgb, "JPEG2000", irreversible=True, quality_layers=[20]),
        "grey12.j2k": openjpeg.utils.encode_array(grey >> 4, bits_stored=12),
        "rgba.jp2": _encode(rgb.convert("RGBA"), "JPEG2000"),
        "lossy.webp": _encode(rgb, "WEBP"),
        "lossless.webp": _encode(rgb.convert("RGBA"), "WEBP", lossless=True),
    }


def _encode(image: Image.Image, format_: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format_, **options)
    return file.getvalue()
