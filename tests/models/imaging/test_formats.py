"""Files written by the reference encoders, whose pixels are known one by one."""

import base64
import io
import struct
import zlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gdcm
import numpy as np
import openjpeg.utils
import pytest
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate

from models.imaging import (
    DecodedImage,
    ImageBroken,
    ImageFormatUnsupported,
    ImageTooLarge,
    PixelsUnsupported,
    parse_image,
)

COLOURS = np.random.default_rng(0).integers(0, 256, (40, 48, 3)).astype(np.uint8)
RAMP = np.arange(256).reshape(16, 16)

# 16 × 16 lossless HTJ2K codestreams that OpenJPH 0.26.3 wrote: 16 · 0 … 16 · 255 in 16 bits, and
# RGB of 0 … 255, its rows from the last to the first, and its columns as rows.
HTJ2K_GREY = base64.b64decode(
    "/0//UQApQAAAAAAQAAAAEAAAAAAAAAAAAAAAEAAAABAAAAAAAAAAAAABDwEB/1AACAACAAAACv9SAAwAAgABAAUEBEAB"
    "/1wAEyCIkJCQkJCQkJCQkJCQiIiI/2QAFwABT3BlbkpQSCBWZXIgMC4yNi4zLv+QAAoAAAAAAH4AAf+TwAAmSfYFB3QA"
    "AMAAEsAAEwAiAYd0AEbyA4d0AMAAE0AAE4AQyAECdAAe6ZEAw1QAwAAVEAAFYIZhGKpwgnUAfvTDDz/+wFKB7LYAwAAr"
    "IAAWkO7u7u7nwKenp8J4AP79/f39/f39/Yxge/Yxgey6AP/Z"
)
HTJ2K_RGB = base64.b64decode(
    "/0//UQAvQAAAAAAQAAAAEAAAAAAAAAAAAAAAEAAAABAAAAAAAAAAAAADBwEBBwEBBwEB/1AACAACAAAAA/9SAAwAAgAB"
    "AQUEBEAB/1wAEyBQWFhYWFhYWFhYWFhYUFBQ/2QAFwABT3BlbkpQSCBWZXIgMC4yNi4zLv+QAAoAAAAAAS0AAf+TwBGA"
    "F3MAwBKAuQEHdADAEoC5AQd0AAAAAMAJYASg1ACHdADDAId0AMAJYASgEAGHdAA2AYd0AKAEwEj+Agd0AMAJoATQAkAI"
    "/QACdABgHAAAlAD8AdMAwAmgBMAIxAECdACamgBDVACgBOAiRf4AY1QAwAq4AVUAJwAgAUj+ASXYt7YAAI7j+BIDHV+2"
    "AACAANVbNQDACogBVIIgCKpwgnUASkVR/sAQgey2AKAFUI4Oh+PAIQHstgDAFbAFZAFpAAAMhuF+EHg8HTnuaQDA/39t"
    "xXv3XvMAaQAAAAAAKqq91VVe6qqveaaZ3gDAFZAFoMzMzMznwKenp8J4ACAAAAAA/v2AAHv2AAHsugCgCvC+99577/2A"
    "AHv2AAHsugD/2Q=="
)
HTJ2K_COLOURS = np.stack([RAMP, RAMP[::-1], RAMP.T], -1)


def encoded(image: Image.Image, format_: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format_, **options)
    return file.getvalue()


def grey(image: DecodedImage) -> np.ndarray:
    assert (image.pixels == image.pixels[:, :, :1]).all()
    return image.pixels[:, :, 0]


def shown(values: np.ndarray, low: float, high: float) -> list[list[int]]:
    """Values from `low` to `high` on 0 … 255."""
    unit = np.clip((values.astype(float) - low) / (high - low), 0, 1)
    return np.floor(unit * 255 + 0.5).astype(int).tolist()


@pytest.mark.parametrize("as_file", [False, True], ids=["codestream", "jp2"])
@pytest.mark.parametrize(
    ("bits", "signed"), [(4, False), (8, False), (8, True), (12, False), (16, False), (16, True)]
)
def test_jpeg_2000_greys_keep_the_values_of_their_bits(
    bits: int, signed: bool, as_file: bool
) -> None:
    low = -(2 ** (bits - 1)) if signed else 0
    spread = np.linspace(low, low + 2**bits - 1, 40 * 48).round().reshape(40, 48)
    values = spread.astype(f"{'i' if signed else 'u'}{1 if bits <= 8 else 2}")
    data = openjpeg.utils.encode_array(values, bits_stored=bits, codec_format=int(as_file))
    image = parse_image(data)
    assert (image.source, image.frames) == ("jpeg2000", 1)
    assert grey(image).tolist() == shown(values, low, low + 2**bits - 1)
    plain = bits <= 8 and not signed
    assert image.window_origin == ("none" if plain else "percentile")
    quarter = parse_image(data, window=(low + 2**bits / 4, 2 ** (bits - 1)))
    black = low + 2**bits / 4 - 0.5 - (2 ** (bits - 1) - 1) / 2
    assert grey(quarter).tolist() == shown(values, black, black + 2 ** (bits - 1) - 1)


@pytest.mark.parametrize("as_file", [False, True], ids=["codestream", "jp2"])
def test_jpeg_2000_colour_is_exact_where_it_is_lossless(as_file: bool) -> None:
    data = openjpeg.utils.encode_array(
        COLOURS, photometric_interpretation=1, codec_format=int(as_file)
    )
    image = parse_image(data)
    assert (image.pixels == COLOURS).all()
    assert (image.source, image.window, image.notes) == ("jpeg2000", None, ())
    by_pillow = encoded(Image.fromarray(COLOURS), "JPEG2000", irreversible=False)
    assert (parse_image(by_pillow).pixels == COLOURS).all()


def test_high_throughput_jpeg_2000_is_exact() -> None:
    assert grey(parse_image(HTJ2K_GREY)).tolist() == shown(16 * RAMP, 0, 16 * 255)
    assert (parse_image(HTJ2K_RGB).pixels == HTJ2K_COLOURS).all()


def test_jpeg_2000_with_alpha_is_composited_on_black() -> None:
    rgba = np.full((16, 16, 4), 200, np.uint8)
    rgba[0, 0, 3], rgba[0, 1, 3], rgba[1:, :, 3] = 0, 51, 255
    image = parse_image(encoded(Image.fromarray(rgba), "JPEG2000", irreversible=False))
    assert image.pixels[:2, :2, 0].tolist() == [[0, 40], [200, 200]]
    assert image.notes == ("Alpha composited on black.",)


def test_jpeg_2000_colour_of_more_than_8_bits_is_refused() -> None:
    deep = openjpeg.utils.encode_array(
        COLOURS.astype(np.uint16) * 16, bits_stored=12, photometric_interpretation=1
    )
    with pytest.raises(PixelsUnsupported, match="8 bits per channel"):
        parse_image(deep)


def test_jpeg_2000_sizes_must_agree_and_be_within_limits() -> None:
    data = encoded(Image.fromarray(COLOURS), "JPEG2000")
    header = struct.pack(">4sII", b"ihdr", 40, 48)
    assert header in data
    with pytest.raises(ImageBroken, match="one size"):
        parse_image(data.replace(header, struct.pack(">4sII", b"ihdr", 40, 64)))
    size = struct.pack(">II", 48, 40)
    start = data.index(b"\xff\x4f\xff\x51") + 8
    assert data[start : start + 8] == size
    huge = struct.pack(">II", 60_000, 60_000)
    for bomb in (
        data[:start] + huge + data[start + 8 :],
        data[start - 8 : start] + huge + data[start + 8 :],
    ):
        if bomb.startswith(b"\0"):
            bomb = bomb.replace(header, struct.pack(">4sII", b"ihdr", 60_000, 60_000))
        with pytest.raises(ImageTooLarge, match="60000 × 60000"):
            parse_image(bomb)
    for cut in (13, 40, 70, start + 20, len(data) // 2):
        with pytest.raises(ImageBroken):
            parse_image(data[:cut])


def test_webp_is_exact_where_it_is_lossless() -> None:
    image = parse_image(encoded(Image.fromarray(COLOURS), "WEBP", lossless=True))
    assert (image.pixels == COLOURS).all()
    assert (image.source, image.notes) == ("webp", ())
    smooth = np.full((40, 48, 3), 90, np.uint8)
    lossy = parse_image(encoded(Image.fromarray(smooth), "WEBP", quality=95))
    assert (abs(lossy.pixels.astype(int) - 90) <= 3).all()


def test_webp_alpha_and_orientation_are_those_of_the_other_formats() -> None:
    rgba = np.full((16, 24, 4), 200, np.uint8)
    rgba[0, 0, 3], rgba[0, 1, 3], rgba[0, 2:, 3], rgba[1:, :, 3] = 0, 51, 255, 255
    image = parse_image(encoded(Image.fromarray(rgba), "WEBP", lossless=True, exact=True))
    assert image.pixels[0, :3, 0].tolist() == [0, 40, 200]
    assert image.notes == ("Alpha composited on black.",)
    exif = Image.Exif()
    exif[274] = 6
    turned = parse_image(encoded(Image.fromarray(COLOURS), "WEBP", lossless=True, exif=exif))
    assert (turned.pixels == COLOURS.transpose(1, 0, 2)[:, ::-1]).all()


def test_webp_that_moves_or_is_too_large_is_refused_before_it_takes_memory() -> None:
    first, second = Image.new("RGB", (16, 16), 1), Image.new("RGB", (16, 16), (0, 9, 200))
    moving = encoded(first, "WEBP", save_all=True, append_images=[second], duration=100)
    with pytest.raises(ImageFormatUnsupported, match="animated"):
        parse_image(moving)
    side = struct.pack("<I", 16_383)[:3]
    bomb = b"RIFF\x1e\0\0\0WEBPVP8X\x0a\0\0\0" + bytes(4) + side + side + bytes(8)
    with pytest.raises(ImageTooLarge, match="16384 × 16384"):
        parse_image(bomb)
    bits = struct.pack("<I", 16_382 | 16_382 << 14)
    with pytest.raises(ImageTooLarge, match="16383 × 16383"):
        parse_image(b"RIFF\x1e\0\0\0WEBPVP8L\x0a\0\0\0\x2f" + bits + bytes(9))
    with pytest.raises(ImageBroken):
        parse_image(moving[:25])


@pytest.mark.parametrize(
    "compression", ["raw", "packbits", "tiff_lzw", "tiff_adobe_deflate", "zstd"]
)
def test_tiff_of_each_lossless_compression_is_exact(compression: str) -> None:
    data = encoded(Image.fromarray(COLOURS), "TIFF", compression=compression)
    assert (parse_image(data).pixels == COLOURS).all()
    values = np.linspace(0, 65535, 40 * 48).round().astype(np.uint16).reshape(40, 48)
    deep = parse_image(encoded(Image.fromarray(values), "TIFF", compression=compression))
    assert grey(deep).tolist() == shown(values, 0, 65535)


@pytest.mark.parametrize("deflated", [False, True], ids=["raw", "deflated"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_big_tiff_is_exact_in_both_byte_orders(order: str, deflated: bool) -> None:
    values = np.linspace(0, 65535, 40 * 48).round().reshape(40, 48).astype(f"{order}u2")
    image = parse_image(big_tiff(values, order, deflated=deflated))
    assert (image.source, image.frames) == ("tiff", 1)
    assert grey(image).tolist() == shown(values, 0, 65535)


def big_tiff(values: np.ndarray, order: str, *, deflated: bool) -> bytes:
    """A BigTIFF file of one strip of 16-bit greys."""
    strip = zlib.compress(values.tobytes()) if deflated else values.tobytes()
    height, width = values.shape
    tags = {256: width, 257: height, 258: 16, 259: 8 if deflated else 1, 262: 1, 273: 16, 277: 1}
    tags |= {278: height, 279: len(strip)}
    entries = b"".join(struct.pack(order + "HHQQ", tag, 16, 1, tags[tag]) for tag in sorted(tags))
    directory = struct.pack(order + "Q", len(tags)) + entries + bytes(8)
    mark = {"<": b"II", ">": b"MM"}[order]
    return mark + struct.pack(order + "HHHQ", 43, 8, 0, 16 + len(strip)) + strip + directory


def test_tiff_of_jpeg_and_of_two_colours_are_read() -> None:
    smooth = np.full((40, 48, 3), (200, 90, 30), np.uint8)
    jpeg = parse_image(encoded(Image.fromarray(smooth), "TIFF", compression="jpeg", quality=95))
    assert (abs(jpeg.pixels.astype(int) - smooth) <= 4).all()
    bilevel = Image.fromarray(np.eye(16, dtype=bool))
    for compression in ("raw", "group3", "group4"):
        image = parse_image(encoded(bilevel, "TIFF", compression=compression))
        assert grey(image).tolist() == (255 * np.eye(16, dtype=int)).tolist()


def test_cmyk_of_jpeg_and_tiff_agree() -> None:
    ink = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    for format_, options in (("JPEG", {"quality": 100}), ("TIFF", {})):
        image = parse_image(encoded(ink, format_, **options))
        assert (abs(image.pixels.astype(int) - [255, 0, 0]) <= 2).all()
        assert "CMYK" in image.notes[0]


# DICOM: each file is the native one, compressed by a reference encoder.


def native(values: np.ndarray, *, bits: int, **elements: Any) -> Dataset:
    """A data set of one frame, grey (H, W) or RGB (H, W, 3)."""
    dataset = Dataset()
    dataset.SOPClassUID = uid.SecondaryCaptureImageStorage
    dataset.SOPInstanceUID = "1.2.3"
    colour = values.ndim == 3
    dataset.SamplesPerPixel = 3 if colour else 1
    dataset.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        dataset.PlanarConfiguration = 0
    dataset.Rows, dataset.Columns = values.shape[:2]
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8 * values.itemsize, bits, bits - 1
    dataset.PixelRepresentation = int(values.dtype.kind == "i")
    dataset.PixelData = values.tobytes()
    dataset["PixelData"].VR = "OW"
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = uid.SecondaryCaptureImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    return dataset


def written(dataset: Dataset) -> bytes:
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


def by_gdcm(data: bytes, syntax: int, folder: Path) -> bytes:
    """The file in another transfer syntax, by GDCM."""
    source, target = folder / "native.dcm", folder / "compressed.dcm"
    source.write_bytes(data)
    reader, change, writer = (
        gdcm.ImageReader(),
        gdcm.ImageChangeTransferSyntax(),
        gdcm.ImageWriter(),
    )
    reader.SetFileName(str(source))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(syntax))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFileName(str(target))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    return target.read_bytes()


def compressed(dataset: Dataset, syntax: str, folder: Path) -> bytes:
    """The data set in this transfer syntax, by its reference encoder."""
    if syntax == uid.JPEGLosslessSV1:
        return by_gdcm(written(dataset), gdcm.TransferSyntax.JPEGLosslessProcess14_1, folder)
    if syntax == uid.JPEG2000Lossless:
        colour = dataset.SamplesPerPixel == 3
        stream = openjpeg.utils.encode_array(
            dataset.pixel_array,
            bits_stored=dataset.BitsStored,
            photometric_interpretation=int(colour),
        )
        if colour:
            dataset.PhotometricInterpretation = "YBR_RCT"
        return encapsulated(dataset, syntax, stream)
    plugin = {uid.RLELossless: "pydicom", uid.JPEGLSLossless: "pyjpegls"}[syntax]
    dataset.compress(syntax, encoding_plugin=plugin, generate_instance_uid=False)
    return written(dataset)


JPEG_LS = pytest.param(
    uid.JPEGLSLossless,
    marks=pytest.mark.skipif(
        find_spec("jpeg_ls") is None,
        reason="no pyjpegls for this Python (make setup PYTHON=python3.13)",
    ),
)
LOSSLESS = [uid.RLELossless, JPEG_LS, uid.JPEG2000Lossless, uid.JPEGLosslessSV1]


@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda syntax: uid.UID(syntax).name)
@pytest.mark.parametrize(
    ("bits", "signed"), [(8, False), (10, False), (12, False), (12, True), (16, False), (16, True)]
)
def test_dicom_greys_of_each_lossless_syntax_are_those_stored(
    tmp_path: Path, syntax: str, bits: int, signed: bool
) -> None:
    low = -(2 ** (bits - 1)) if signed else 0
    values = np.linspace(low, low + 2**bits - 1, 40 * 48).round().reshape(40, 48)
    stored = values.astype(f"{'i' if signed else 'u'}{1 if bits <= 8 else 2}")
    data = compressed(native(stored, bits=bits), syntax, tmp_path)
    image = parse_image(data, window=(low + 2 ** (bits - 1), 2**bits))
    assert grey(image).tolist() == shown(values, low, low + 2**bits - 1)


@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda syntax: uid.UID(syntax).name)
def test_dicom_colour_of_each_lossless_syntax_is_that_stored(tmp_path: Path, syntax: str) -> None:
    data = compressed(native(COLOURS, bits=8), syntax, tmp_path)
    image = parse_image(data)
    assert (image.pixels == COLOURS).all()
    assert (image.source, image.window) == ("dicom", None)


@pytest.mark.parametrize("bits", [0, 7, 15, 17, 32, 127, 4096, 32767])
def test_bits_that_no_jpeg_has_end_in_a_refusal_and_not_the_process(
    tmp_path: Path, bits: int
) -> None:
    """Found by mutations: GDCM ends its process where it is asked for such samples."""
    for values in (RAMP.astype(np.uint8), COLOURS):
        data = compressed(native(values.copy(), bits=8), uid.JPEGLosslessSV1, tmp_path)
        allocated = b"\x28\0\0\x01US\x02\0"
        assert data.count(allocated + b"\x08\0") == 1
        broken = data.replace(allocated + b"\x08\0", allocated + bits.to_bytes(2, "little"))
        with pytest.raises(ImageBroken):
            parse_image(broken)


def test_dicom_of_high_throughput_jpeg_2000_is_exact() -> None:
    for syntax in (uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K):
        dataset = native((16 * RAMP).astype(np.uint16), bits=16)
        image = parse_image(encapsulated(dataset, syntax, HTJ2K_GREY), window=(2040.5, 4081))
        assert grey(image).tolist() == shown(16 * RAMP, 0, 16 * 255)
        dataset = native(
            HTJ2K_COLOURS.astype(np.uint8), bits=8, PhotometricInterpretation="YBR_RCT"
        )
        image = parse_image(encapsulated(dataset, syntax, HTJ2K_RGB))
        assert (image.pixels == HTJ2K_COLOURS).all()


def encapsulated(dataset: Dataset, syntax: str, *streams: bytes) -> bytes:
    """The data set with these streams as its frames."""
    dataset.PixelData = encapsulate(list(streams))
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = syntax
    return written(dataset)


def test_dicom_baseline_jpeg_is_what_the_same_jpeg_file_is() -> None:
    stream = encoded(Image.fromarray(COLOURS[:, :, 0]), "JPEG", quality=95)
    data = encapsulated(native(COLOURS[:, :, 0].copy(), bits=8), uid.JPEGBaseline8Bit, stream)
    assert (parse_image(data).pixels == parse_image(stream).pixels).all()
    stream = encoded(Image.fromarray(COLOURS), "JPEG", quality=95)
    dataset = native(COLOURS, bits=8, PhotometricInterpretation="YBR_FULL_422")
    data = encapsulated(dataset, uid.JPEGBaseline8Bit, stream)
    found = parse_image(data).pixels.astype(int)
    assert (abs(found - parse_image(stream).pixels) <= 1).all()


def test_frame_of_a_compressed_file_is_the_one_that_was_asked_for() -> None:
    frames = [np.full((40, 48), value, np.uint8) for value in (10, 120, 250)]
    streams = [openjpeg.utils.encode_array(frame) for frame in frames]
    dataset = native(frames[0], bits=8, NumberOfFrames=3)
    data = encapsulated(dataset, uid.JPEG2000Lossless, *streams)
    for index, value in enumerate((10, 120, 250)):
        image = parse_image(data, frame=index)
        assert (image.frame, image.frames) == (index, 3)
        assert (image.pixels == value).all()


def test_bomb_in_one_frame_of_many_is_refused_by_its_own_header() -> None:
    good = openjpeg.utils.encode_array(np.full((40, 48), 7, np.uint8))
    start = good.index(b"\xff\x4f\xff\x51") + 8
    bomb = good[:start] + struct.pack(">II", 60_000, 60_000) + good[start + 8 :]
    dataset = native(np.zeros((40, 48), np.uint8), bits=8, NumberOfFrames=2)
    data = encapsulated(dataset, uid.JPEG2000Lossless, good, bomb)
    assert (parse_image(data, frame=0).pixels == 7).all()
    with pytest.raises(ImageBroken, match="48 × 40"):
        parse_image(data, frame=1)
