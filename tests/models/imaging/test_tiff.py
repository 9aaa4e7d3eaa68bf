"""TIFF pages of every sample format, made here sample by sample."""

import io
import struct
import zlib
from itertools import product
from typing import Any

import numpy as np
import openjpeg.utils
import pytest
from PIL import Image
from tifffile import imwrite

from models.imaging import ImageBroken, ImageNotFinite, PixelsUnsupported, parse_image

HEIGHT, WIDTH = 40, 48
CODES = {"none": 1, "lzw": 5, "deflate": 8, "packbits": 32773, "lzma": 34925, "zstd": 50000}
_PILLOW = {"lzw": "tiff_lzw", "packbits": "packbits", "lzma": "lzma", "zstd": "zstd"}
_SHORT, _LONG = 3, 4
RAMP = np.linspace(0, 1, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH)


def grey(image: Any) -> np.ndarray:
    assert (image.pixels == image.pixels[:, :, :1]).all()
    return image.pixels[:, :, 0]


def shown(values: np.ndarray) -> np.ndarray:
    """The full range of the values on 0 … 255."""
    real = values.astype(np.float64)
    return np.floor((real - real.min()) / np.ptp(real) * 255 + 0.5)


def compress(content: bytes, row_bytes: int, how: str) -> bytes:
    """A strip or tile in this compression."""
    if how == "none":
        return content
    if how == "deflate":
        return zlib.compress(content)
    file = io.BytesIO()
    rows = np.frombuffer(content, np.uint8).reshape(-1, row_bytes)
    Image.fromarray(rows).save(file, "TIFF", compression=_PILLOW[how], tiffinfo={278: len(rows)})
    file.seek(0)
    with Image.open(file) as image:
        (start,), (size,) = image.tag_v2[273], image.tag_v2[279]
    return file.getvalue()[start : start + size]


def pack(samples: np.ndarray, bits: int, order: str) -> bytes:
    """Rows of samples, (rows, run), each beginning at a byte."""
    if bits in (8, 16, 32, 64):
        return samples.astype(samples.dtype.newbyteorder(order)).tobytes()
    fields = samples.astype(np.int64) & ((1 << bits) - 1)
    digits = fields[:, :, None] >> np.arange(bits - 1, -1, -1) & 1
    return np.packbits(digits.reshape(len(samples), -1).astype(np.uint8), axis=1).tobytes()


def difference(samples: np.ndarray) -> np.ndarray:
    """Horizontal differencing, (rows, columns, samples); of floats, as Adobe's note 3 has it."""
    if samples.dtype.kind == "f":
        rows, columns, count = samples.shape
        high_first = samples.astype(samples.dtype.newbyteorder(">")).view(np.uint8)
        planes = high_first.reshape(rows, columns * count, -1).transpose(0, 2, 1)
        steps = planes.reshape(rows, -1, count).copy()
        steps[:, 1:] -= steps[:, :-1].copy()
        return steps.reshape(rows, -1)
    kind = samples.view(f"u{samples.dtype.itemsize}")
    changed = kind.copy()
    changed[:, 1:] -= kind[:, :-1]
    return changed.view(samples.dtype)


def tiff(
    samples: np.ndarray,
    *,
    bits: int = 0,
    order: str = "<",
    how: str = "none",
    big: bool = False,
    tile: int = 0,
    rows_per_strip: int = 16,
    planar: bool = False,
    predictor: bool = False,
    reverse_bits: bool = False,
    segments: list[bytes] | None = None,
    **tags: Any,
) -> bytes:
    """A TIFF file of samples, (H, W) or (H, W, samples); `tags` are numbered like `t262=1`."""
    samples = samples if samples.ndim == 3 else samples[:, :, None]
    height, width, count = samples.shape
    bits = bits or 8 * samples.itemsize
    kind = {"u": 1, "i": 2, "f": 3}[samples.dtype.kind]
    if segments is None:
        segments = []
        for plane in np.moveaxis(samples, -1, 0)[..., None] if planar else [samples]:
            for part in cut(plane, tile, rows_per_strip):
                part = difference(part) if predictor else part
                flat = np.ascontiguousarray(part).reshape(len(part), -1)
                content = pack(flat, 8 if flat.dtype == np.uint8 and bits > 8 else bits, order)
                content = compress(content, len(content) // len(part), how)
                segments.append(content.translate(REVERSED) if reverse_bits else content)
    numbered: dict[int, list[int]] = {
        256: [width],
        257: [height],
        258: [bits] * count,
        259: [CODES[how]],
        262: [2 if count == 3 else 1],
        277: [count],
        284: [2 if planar else 1],
        317: [(3 if kind == 3 else 2) if predictor else 1],
        339: [kind] * count,
    }
    if reverse_bits:
        numbered[266] = [2]
    numbered |= {322: [tile], 323: [tile]} if tile else {278: [rows_per_strip]}
    offsets, sizes = (324, 325) if tile else (273, 279)
    numbered |= {int(name[1:]): list(value) for name, value in tags.items()}
    return assemble(numbered, segments, offsets, sizes, order, big=big)


REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def cut(plane: np.ndarray, tile: int, rows: int) -> list[np.ndarray]:
    height, width = plane.shape[:2]
    if not tile:
        return [plane[top : top + rows] for top in range(0, height, rows)]
    down, across = -height % tile, -width % tile
    padded = np.pad(plane, ((0, down), (0, across), (0, 0)))
    places = product(range(0, len(padded), tile), range(0, padded.shape[1], tile))
    return [padded[top : top + tile, left : left + tile] for top, left in places]


def assemble(
    tags: dict[int, list[int]],
    segments: list[bytes],
    offsets: int,
    sizes: int,
    order: str,
    *,
    big: bool,
) -> bytes:
    head = 16 if big else 8
    places, at = [], head
    for segment in segments:
        places.append(at)
        at += len(segment)
    tags |= {offsets: places, sizes: [len(segment) for segment in segments]}
    field, count = ("Q", "Q") if big else ("I", "H")
    width = struct.calcsize(order + field)
    entry = struct.calcsize(order + "HH" + 2 * field)
    directory, extra = b"", b""
    begins = at + struct.calcsize(order + count) + len(tags) * entry + width
    for tag in sorted(tags):
        values = tags[tag]
        kind = _LONG if tag in (offsets, sizes) else _SHORT
        body = struct.pack(f"{order}{len(values)}{'I' if kind == _LONG else 'H'}", *values)
        if len(body) > width:
            place = struct.pack(order + field, begins + len(extra))
            extra += body
            body = place
        directory += struct.pack(order + "HH" + field, tag, kind, len(values))
        directory += body.ljust(width, b"\0")
    mark = {"<": b"II", ">": b"MM"}[order]
    start = struct.pack(order + "HHHQ", 43, 8, 0, at) if big else struct.pack(order + "HI", 42, at)
    whole = mark + start + b"".join(segments) + struct.pack(order + count, len(tags)) + directory
    return whole + bytes(width) + extra


TYPES = ["u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8"]


def values_of(kind: str) -> np.ndarray:
    """A ramp over the range of a type; half of it below zero where there are signs."""
    dtype = np.dtype(kind)
    if dtype.kind == "f":
        return (RAMP * 3 - 1).astype(dtype)
    ends = np.iinfo(dtype)
    return (RAMP * (float(ends.max) * 0.98 - ends.min) + ends.min).astype(dtype)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("how", CODES)
@pytest.mark.parametrize("kind", TYPES)
def test_greys_of_every_type_span_their_range(kind: str, how: str, order: str) -> None:
    values = values_of(kind)
    layouts: list[dict[str, Any]] = [{}, {"tile": 16}, {"big": True}]
    if how != "packbits":  # which has no predictor (TIFF 6.0 section 14)
        layouts += [{"predictor": True}, {"predictor": True, "tile": 16}]
    for layout in layouts:
        image = parse_image(tiff(values, how=how, order=order, **layout))
        assert abs(grey(image) - shown(values)).max() <= 1, layout
        assert image.window_origin == "percentile"


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5, 6, 7, 8])
@pytest.mark.parametrize("white_is_zero", [False, True])
def test_greys_of_few_bits_are_scaled_by_their_bits(
    bits: int, order: str, white_is_zero: bool
) -> None:
    values = (RAMP * (2**bits - 1)).round().astype(np.uint8)
    photometric = [0 if white_is_zero else 1]
    for layout in ({}, {"tile": 16}, {"how": "lzw"}, {"reverse_bits": True}):
        image = parse_image(tiff(values, bits=bits, order=order, t262=photometric, **layout))
        expected = np.floor(values / (2**bits - 1) * 255 + 0.5).astype(int)
        expected = 255 - expected if white_is_zero else expected
        assert abs(grey(image) - expected).max() <= 1, layout
        assert image.window_origin == "none"


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bits", [9, 10, 12, 14, 20, 24])
def test_greys_of_odd_depths_span_their_range(bits: int, order: str) -> None:
    values = (RAMP * (2**bits - 1)).round().astype(np.uint32)
    for layout in ({}, {"how": "deflate"}, {"tile": 16}):
        image = parse_image(tiff(values, bits=bits, order=order, **layout))
        assert abs(grey(image) - shown(values)).max() <= 1, layout


@pytest.mark.parametrize("kind", ["u2", "u4", "i1", "i2", "f4", "f2"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_white_is_zero_inverts_every_type(kind: str, order: str) -> None:
    values = values_of(kind)
    image = parse_image(tiff(values, order=order, t262=[0]))
    assert abs(grey(image) - (255 - shown(values))).max() <= 1


@pytest.mark.parametrize("few", [False, True])
def test_negative_bytes_are_dark(few: bool) -> None:
    values = (RAMP * (60 if few else 250) - (5 if few else 125)).round().astype(np.int8)
    picture = grey(parse_image(tiff(values)))
    assert abs(picture - shown(values)).max() <= 1
    assert picture[values < 0].max() < picture[values > 0].min() + 1


@pytest.mark.parametrize("kind", ["f2", "f4", "f8"])
def test_floats_must_be_finite(kind: str) -> None:
    values = values_of(kind)
    values[3, 3] = np.nan
    with pytest.raises(ImageNotFinite):
        parse_image(tiff(values))


COLOURS = np.random.default_rng(3).integers(0, 256, (HEIGHT, WIDTH, 4)).astype(np.uint8)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("how", ["none", "lzw", "deflate", "packbits", "zstd"])
def test_colours_are_exact_in_every_layout(how: str, order: str) -> None:
    rgb = COLOURS[:, :, :3]
    for layout in (
        {},
        {"planar": True},
        {"tile": 16},
        {"tile": 16, "planar": True},
        {"predictor": True},
        {"big": True},
    ):
        image = parse_image(tiff(rgb, how=how, order=order, **layout))
        assert (image.pixels == rgb).all(), layout


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("alpha", [0, 1, 2])
@pytest.mark.parametrize("samples", [2, 4])
def test_alpha_is_composited_on_black_once(samples: int, alpha: int, big: bool) -> None:
    data = COLOURS[:, :, :samples].copy()
    if alpha == 1:  # associated: colours never exceed it
        data[:, :, :-1] = np.minimum(data[:, :, :-1], data[:, :, -1:])
    colours, weight = data[:, :, :-1].astype(float), data[:, :, -1:] / 255
    expected = colours * weight if alpha == 2 else colours
    order = ">" if big else "<"
    photometric = [2 if samples == 4 else 1]
    image = parse_image(tiff(data, t338=[alpha], t262=photometric, big=big, order=order))
    assert abs(image.pixels - expected).max() <= 2
    assert ("Alpha composited on black." in image.notes) == (alpha > 0)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("alpha", [0, 1, 2])
def test_alpha_may_lie_in_a_plane_of_its_own_or_beside_deep_greys(alpha: int, order: str) -> None:
    data = COLOURS.copy()
    data[:, :, :-1] = np.minimum(data[:, :, :-1], data[:, :, -1:])
    weight = data[:, :, -1:] / 255 if alpha == 2 else 1
    image = parse_image(tiff(data, planar=True, order=order, t338=[alpha], t262=[2]))
    assert abs(image.pixels - data[:, :, :-1] * weight).max() <= 2
    deep = data[:, :, 2:].astype(np.uint16) * 257
    for planar in (False, True):
        image = parse_image(tiff(deep, planar=planar, order=order, t338=[alpha], t262=[1]))
        assert abs(grey(image) - shown(data[:, :, 2] * np.squeeze(weight))).max() <= 2


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("alpha", [1, 2])
def test_alpha_is_composited_on_black_where_zero_is_white(alpha: int, deep: bool) -> None:
    levels, weight = COLOURS[:, :, 0].astype(float), COLOURS[:, :, 1] / 255
    expected = (255 - levels) * weight
    if alpha == 1:  # associated: what is stored was multiplied
        levels = np.floor(levels * weight)
        expected = COLOURS[:, :, 1] - levels
    data = np.stack([levels, COLOURS[:, :, 1]], axis=-1).astype(np.uint8)
    data = data.astype(np.uint16) * 257 if deep else data
    image = parse_image(tiff(data, t338=[alpha], t262=[0]))
    expected = shown(expected) if deep else expected
    assert abs(grey(image) - expected).max() <= 2


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("how", ["none", "lzw", "packbits"])
def test_ycbcr_may_lie_in_planes(how: str, order: str) -> None:
    rgb = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    rgb[:] = (200, 80, 40)
    coded = np.asarray(Image.fromarray(rgb).convert("YCbCr"))
    image = parse_image(tiff(coded, how=how, order=order, planar=True, t262=[6], t530=[1, 1]))
    assert abs(image.pixels.astype(int) - rgb).max() <= 2


def test_alpha_in_a_plane_of_jpeg_is_refused_by_name() -> None:
    planes = [jpeg(np.ascontiguousarray(COLOURS[:, :, number])) for number in (0, 1)]
    data = tiff(
        COLOURS[:, :, :2],
        planar=True,
        rows_per_strip=HEIGHT,
        segments=planes,
        t259=[7],
        t262=[1],
        t338=[2],
    )
    with pytest.raises(PixelsUnsupported, match="JPEG"):
        parse_image(data)


def jpeg(picture: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG")
    return file.getvalue()


@pytest.mark.parametrize("kind", [np.int8, np.int16, np.float32])
def test_alpha_beside_samples_with_a_sign_is_refused_by_name(kind: type) -> None:
    data = COLOURS[:, :, :2].astype(kind)
    with pytest.raises(PixelsUnsupported, match=r"signed|floating-point"):
        parse_image(tiff(data, t338=[2], t262=[1]))


def test_signed_colours_are_named_as_such() -> None:
    with pytest.raises(PixelsUnsupported, match="3 signed sample"):
        parse_image(tiff(COLOURS[:, :, :3].view(np.int8), t262=[2]))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5, 8, 16])
@pytest.mark.parametrize("deep", [True, False])
def test_palettes_of_every_depth_give_their_colours(bits: int, order: str, deep: bool) -> None:
    values = (RAMP * (2**bits - 1)).round().astype(np.uint16 if bits == 16 else np.uint8)
    palette = np.random.default_rng(bits).integers(0, 256, (3, 2**bits))
    entries = (palette * 257 if deep else palette).ravel().tolist()
    image = parse_image(tiff(values, bits=bits, order=order, t262=[3], t320=entries))
    if deep or bits in (3, 5, 16):
        assert (image.pixels == np.moveaxis(palette[:, values], 0, -1)).all()


@pytest.mark.parametrize("kind", ["u1", "u2", "f4", "colour"])
def test_colour_profile_is_noted_whatever_the_samples(kind: str) -> None:
    values = COLOURS[:, :, :3] if kind == "colour" else (RAMP * 255).astype(kind)
    file = io.BytesIO()
    imwrite(file, values, iccprofile=b"Adobe RGB (1998)" + bytes(200))
    assert not any("profile" in note for note in parse_image(tiff(values)).notes)
    assert any("profile" in note for note in parse_image(file.getvalue()).notes)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_turns_samples_that_pillow_lacks(orientation: int) -> None:
    values = np.zeros((HEIGHT, WIDTH), np.uint8)
    values[:8, :12] = 200
    reference = parse_image(tiff(values, t274=[orientation]))
    deep = parse_image(tiff(values.astype(np.float16), t274=[orientation]))
    assert ((reference.pixels > 0) == (deep.pixels > 0)).all()


@pytest.mark.parametrize("code", [33003, 33004, 33005, 34712])
def test_jpeg_2000_within_a_tiff_is_decoded(code: int) -> None:
    rgb = np.ascontiguousarray(COLOURS[:, :, :3])
    stream = openjpeg.utils.encode_array(rgb, photometric_interpretation=1, use_mct=True)
    image = parse_image(tiff(rgb, segments=[stream], rows_per_strip=HEIGHT, t259=[code]))
    assert (image.pixels == rgb).all()
    values = np.ascontiguousarray(values_of("u2"))
    stream = openjpeg.utils.encode_array(values)
    image = parse_image(tiff(values, segments=[stream], rows_per_strip=HEIGHT, t259=[code]))
    assert abs(grey(image) - shown(values)).max() <= 1


def test_jpeg_2000_of_aperio_without_a_transform_holds_ycbcr() -> None:
    ycbcr = np.full((HEIGHT, WIDTH, 3), (120, 90, 200), np.uint8)
    stream = openjpeg.utils.encode_array(ycbcr, photometric_interpretation=1, use_mct=False)
    image = parse_image(tiff(ycbcr, segments=[stream], rows_per_strip=HEIGHT, t259=[33003]))
    rgb = np.asarray(Image.new("YCbCr", (1, 1), (120, 90, 200)).convert("RGB"))
    assert (image.pixels == rgb).all()


@pytest.mark.parametrize(
    ("code", "named"),
    [(50001, "WEBP"), (34887, "LERC"), (50002, "JPEGXL"), (65000, "EER"), (54321, "54321")],
)
def test_compression_without_a_decoder_is_named(code: int, named: str) -> None:
    with pytest.raises(PixelsUnsupported, match=named):
        parse_image(tiff(COLOURS[:, :, :3], t259=[code]))


def test_other_samples_without_a_decoder_are_named() -> None:
    with pytest.raises(PixelsUnsupported, match="8 bits per channel"):
        parse_image(tiff(COLOURS[:, :, :3].astype(np.uint16)))
    with pytest.raises(PixelsUnsupported, match="format 6"):  # complex
        parse_image(tiff(values_of("u8"), t339=[6]))
    with pytest.raises(PixelsUnsupported, match="predictor 3"):
        parse_image(tiff(values_of("u2"), t317=[3]))
    with pytest.raises(PixelsUnsupported, match="predictor 2"):
        parse_image(tiff(values_of("u2") >> 4, bits=12, t317=[2]))
    with pytest.raises(PixelsUnsupported, match="2 unsigned sample"):
        parse_image(tiff(COLOURS[:, :, :2]))
    with pytest.raises(PixelsUnsupported, match="subsampling"):
        parse_image(tiff(COLOURS[:, :, :3], t262=[6], t530=[2, 2]))


@pytest.mark.parametrize("kind", ["u2", "f2", "u8", "i1"])
@pytest.mark.parametrize("how", ["none", "lzw", "deflate"])
def test_a_cut_page_is_broken(kind: str, how: str) -> None:
    data = tiff(values_of(kind), how=how, big=True, order=">")
    tags = data.index(struct.pack(">HHQQ", 256, _SHORT, 1, WIDTH << 48))
    moved = bytearray(data)
    size = data.index(struct.pack(">HHQ", 257, _SHORT, 1)) + 12
    assert tags
    moved[size : size + 2] = struct.pack(">H", 4 * HEIGHT)  # more rows than there are strips
    with pytest.raises(ImageBroken):
        parse_image(bytes(moved))
