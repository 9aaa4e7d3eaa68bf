"""PNG, JPEG and TIFF files made here, with known answers."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from models.imaging import (
    FrameOutOfRange,
    FrameRequired,
    ImageBroken,
    ImageEmpty,
    ImageFormatUnsupported,
    ImageLimits,
    ImageNotFinite,
    ImageTooLarge,
    ImageTooSmall,
    PixelsUnsupported,
    WindowInvalid,
    parse_image,
)

COLOURS = np.random.default_rng(0).integers(0, 256, (9, 12, 3)).astype(np.uint8)


def encoded(image: Image.Image, format_: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format_, **options)
    return file.getvalue()


def grey(image: Any) -> np.ndarray:
    assert (image.pixels == image.pixels[:, :, :1]).all()
    return image.pixels[:, :, 0]


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(*, width: int, height: int, depth: int, colour_type: int, rows: bytes) -> bytes:
    """A PNG file from its unfiltered rows, each with its filter byte."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("format_", ["PNG", "TIFF"])
def test_eight_bit_colour_is_unchanged(format_: str) -> None:
    image = parse_image(encoded(Image.fromarray(COLOURS), format_))
    assert (image.pixels == COLOURS).all()
    assert image.source == format_.lower()
    assert (image.window, image.window_origin, image.notes) == (None, "none", ())


def test_pixels_are_read_only_and_a_copy() -> None:
    pixels = parse_image(encoded(Image.fromarray(COLOURS))).pixels
    assert pixels.flags.c_contiguous
    with pytest.raises(ValueError, match="read-only"):
        pixels[0, 0, 0] = 1


def test_format_is_told_by_content() -> None:
    assert parse_image(encoded(Image.fromarray(COLOURS), "JPEG")).source == "jpeg"
    for unknown in (b"GIF89a" + bytes(200), b"<html>", bytes(300)):
        with pytest.raises(ImageFormatUnsupported):
            parse_image(unknown)
    with pytest.raises(ImageEmpty):
        parse_image(b"")


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_turns_the_picture_upright(format_: str, orientation: int) -> None:
    # EXIF 2.3: how the stored rows and columns lie in the upright picture.
    stored = np.zeros((16, 24, 3), np.uint8)
    stored[:8, :8] = 255  # stored top left
    upright = {
        1: stored,
        2: stored[:, ::-1],
        3: stored[::-1, ::-1],
        4: stored[::-1],
        5: stored.transpose(1, 0, 2),
        6: stored.transpose(1, 0, 2)[:, ::-1],
        7: stored.transpose(1, 0, 2)[::-1, ::-1],
        8: stored.transpose(1, 0, 2)[::-1],
    }[orientation]
    exif = Image.Exif()
    exif[274] = orientation
    options = {"exif": exif} if format_ != "TIFF" else {"tiffinfo": {274: orientation}}
    image = parse_image(encoded(Image.fromarray(stored), format_, **options))
    assert (abs(image.pixels.astype(int) - upright) < 3).all()


@pytest.mark.parametrize("format_", ["PNG", "TIFF"])
def test_sixteen_bit_grey_keeps_its_full_range_and_says_so(format_: str) -> None:
    values = np.linspace(0, 65535, 80).astype(np.uint16).reshape(8, 10)
    image = parse_image(encoded(Image.fromarray(values), format_))
    assert grey(image).tolist() == np.floor(values / 257 + 0.5).astype(int).tolist()
    assert (image.window, image.window_origin) == ((32768.0, 65536.0), "percentile")
    assert "0..100" in image.notes[0]


@pytest.mark.parametrize("format_", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled_by_its_true_range(format_: str) -> None:
    values = np.linspace(1000, 5095, 80).astype(np.uint16).reshape(8, 10)
    picture = grey(parse_image(encoded(Image.fromarray(values), format_)))
    assert (picture.min(), picture.max()) == (0, 255)
    assert picture.tolist() == np.floor((values - 1000) / 4095 * 255 + 0.5).astype(int).tolist()


def test_sixteen_bit_grey_takes_the_requested_window() -> None:
    values = np.arange(0, 6400, 100).astype(np.uint16).reshape(8, 8)
    data = encoded(Image.fromarray(values))
    image = parse_image(data, window=(1000.5, 1001))  # 500 … 1500
    expected = np.floor(np.clip((values.astype(float) - 500) / 1000, 0, 1) * 255 + 0.5)
    assert grey(image).tolist() == expected.astype(int).tolist()
    assert image.window_origin == "request"
    assert "0.5..99.5" in parse_image(data, window="auto").notes[0]


def test_signed_and_unsigned_32_bit_tiff_are_told_apart() -> None:
    values = np.array([0, 2**31 - 1, -(2**31), -1] * 16, np.int32).reshape(8, 8)
    data = encoded(Image.fromarray(values), "TIFF")
    signed = grey(parse_image(data))
    assert signed[0, :4].tolist() == [128, 255, 0, 127]
    sample_format = struct.pack("<HHII", 339, 3, 1, 2)  # two's complement
    assert sample_format in data
    data = data.replace(sample_format, struct.pack("<HHII", 339, 3, 1, 1))
    unsigned = grey(parse_image(data))
    assert unsigned[0, :4].tolist() == [0, 127, 128, 255]


def test_white_is_zero_inverts_sixteen_bits_too() -> None:
    values = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    picture = grey(parse_image(encoded(Image.fromarray(values), "TIFF", tiffinfo={262: 0})))
    assert (picture[0, 0], picture[-1, -1]) == (255, 0)


def test_constant_deep_grey_is_black_and_says_so() -> None:
    image = parse_image(encoded(Image.fromarray(np.full((8, 8), 700, np.uint16))))
    assert not image.pixels.any()
    assert "equal" in image.notes[1]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_float_tiff_must_be_finite(value: float) -> None:
    values = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    assert grey(parse_image(encoded(Image.fromarray(values), "TIFF"))).max() == 255
    values[3, 3] = value
    with pytest.raises(ImageNotFinite):
        parse_image(encoded(Image.fromarray(values), "TIFF"))


@pytest.mark.parametrize(("colour_type", "channels"), [(2, 3), (4, 2), (6, 4)])
def test_sixteen_bit_colour_png_is_refused(colour_type: int, channels: int) -> None:
    rows = (b"\0" + bytes(8 * channels * 2)) * 8
    data = png(width=8, height=8, depth=16, colour_type=colour_type, rows=rows)
    with pytest.raises(PixelsUnsupported, match="8 bits per channel"):
        parse_image(data)


def test_alpha_is_composited_on_black_and_said() -> None:
    rgba = np.full((8, 8, 4), 200, np.uint8)
    rgba[0, 0, 3], rgba[0, 1, 3], rgba[0, 2, 3] = 0, 51, 255
    image = parse_image(encoded(Image.fromarray(rgba)))
    assert image.pixels[0, :3, 0].tolist() == [0, 40, 200]
    assert image.notes == ("Alpha composited on black.",)


def test_alpha_of_a_tall_picture_is_that_of_its_parts() -> None:
    rgba = np.random.default_rng(2).integers(0, 256, (600, 20, 4)).astype(np.uint8)
    whole = parse_image(encoded(Image.fromarray(rgba))).pixels
    for top in (0, 250, 500):
        part = parse_image(encoded(Image.fromarray(rgba[top : top + 100]))).pixels
        assert (whole[top : top + 100] == part).all()
    opaque = np.dstack([rgba[:, :, :3], np.full((600, 20), 255, np.uint8)])
    assert (parse_image(encoded(Image.fromarray(opaque))).pixels == rgba[:, :, :3]).all()


def test_transparent_palette_entry_is_composited_too() -> None:
    indexed = Image.fromarray(np.eye(8, dtype=np.uint8)).convert("P")
    indexed.putpalette([250, 0, 0, 0, 0, 250])
    image = parse_image(encoded(indexed, transparency=0))
    assert image.pixels[0, :2].tolist() == [[0, 0, 250], [0, 0, 0]]
    assert image.notes == ("Alpha composited on black.",)


def test_palette_bilevel_and_cmyk_become_rgb() -> None:
    indexed = Image.fromarray(np.eye(8, dtype=np.uint8)).convert("P")
    indexed.putpalette([250, 0, 0, 0, 0, 250])
    assert parse_image(encoded(indexed)).pixels[0, 0].tolist() == [0, 0, 250]
    bilevel = parse_image(encoded(Image.fromarray(np.eye(8, dtype=bool))))
    assert grey(bilevel).tolist() == (255 * np.eye(8, dtype=int)).tolist()
    cmyk = parse_image(encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "TIFF"))
    assert cmyk.pixels[0, 0].tolist() == [255, 0, 0]
    assert "CMYK" in cmyk.notes[0]


def test_window_applies_to_eight_bit_grey_and_not_to_colour() -> None:
    data = encoded(Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)))
    assert grey(parse_image(data)).max() == 63
    assert grey(parse_image(data, window=(32, 64))).max() == 255
    with pytest.raises(WindowInvalid):
        parse_image(encoded(Image.fromarray(COLOURS)), window=(32, 64))


def test_pages_of_a_tiff_need_a_choice() -> None:
    pages = [Image.new("L", (8, 9 + index), 50 * index) for index in range(3)]
    data = encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    with pytest.raises(FrameRequired, match="3 frames"):
        parse_image(data)
    with pytest.raises(FrameOutOfRange):
        parse_image(data, frame=3)
    image = parse_image(data, frame=2)
    assert (image.frame, image.frames, image.pixels.shape) == (2, 3, (11, 8, 3))
    assert (image.pixels == 100).all()


def test_animation_is_refused() -> None:
    frames = [Image.new("L", (8, 8), 100), Image.new("L", (8, 8), 200)]
    data = encoded(frames[0], save_all=True, append_images=frames[1:])
    with pytest.raises(ImageFormatUnsupported, match="animated"):
        parse_image(data)


def test_limits_are_checked_on_headers() -> None:
    # No pixel data at all: only the header can have been read.
    with pytest.raises(ImageTooLarge, match="9000 × 9000"):
        parse_image(png(width=9000, height=9000, depth=8, colour_type=2, rows=b""))
    with pytest.raises(ImageTooLarge):
        parse_image(png(width=10**6, height=10**6, depth=8, colour_type=2, rows=b""))
    with pytest.raises(ImageTooSmall, match="7 × 8"):
        parse_image(png(width=7, height=8, depth=8, colour_type=0, rows=bytes(64)))
    with pytest.raises(ImageTooLarge, match="at most 10 bytes"):
        parse_image(bytes(11), limits=ImageLimits(max_bytes=10))
    with pytest.raises(ValueError, match="max_pixels"):
        ImageLimits(max_pixels=0)


def test_cut_file_is_refused() -> None:
    data = encoded(Image.fromarray(np.tile(COLOURS, (9, 9, 1))))
    with pytest.raises(ImageBroken):
        parse_image(data[: len(data) // 2])


def tiff_claiming(*, tags: int, bytes_each: int) -> bytes:
    """A TIFF directory of so many tags that all claim the same bytes."""
    entries = b"".join(
        struct.pack("<HHII", 40000 + index, 7, bytes_each, 8) for index in range(tags)
    )
    body = bytes(bytes_each)
    return (
        b"II*\0" + struct.pack("<I", 8 + len(body)) + body + struct.pack("<H", tags) + entries
    ) + bytes(4)


def test_tags_that_claim_more_than_the_file_are_refused() -> None:
    with pytest.raises(ImageBroken, match="claim more data"):
        parse_image(tiff_claiming(tags=1000, bytes_each=10_000))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP"])
def test_exif_that_claims_more_than_it_has_gives_its_orientation_alone(
    format_: str, order: str
) -> None:
    # Six bytes that a maker note once had behind them; the decoder must not look for them.
    entries = [(274, 3, 1, 6 << (16 if order == ">" else 0)), (37500, 7, 10**6, 8)]
    body = b"".join(struct.pack(order + "HHII", *entry) for entry in entries)
    head = {"<": b"II*\0", ">": b"MM\0*"}[order]
    exif = head + struct.pack(order + "IH", 8, len(entries)) + body + bytes(4)
    smooth = np.zeros((16, 24, 3), np.uint8)
    smooth[:8, :8] = 255
    options = (
        {"quality": 95} if format_ == "JPEG" else {"lossless": True} if format_ == "WEBP" else {}
    )
    data = encoded(Image.fromarray(smooth), format_, exif=b"Exif\0\0" + exif, **options)
    image = parse_image(data)
    assert (abs(image.pixels.astype(int) - smooth.transpose(1, 0, 2)[:, ::-1]) < 4).all()
    assert image.notes == (
        "The file's EXIF block is damaged; of it, only the orientation was read.",
    )


def test_exif_bomb_is_not_followed() -> None:
    bomb = b"Exif\0\0" + tiff_claiming(tags=500, bytes_each=20_000)
    plain = encoded(Image.fromarray(COLOURS), "JPEG")
    segment = b"\xff\xe1" + struct.pack(">H", len(bomb) + 2) + bomb
    whole = parse_image(plain)
    image = parse_image(plain[:2] + segment + plain[2:])
    assert (image.pixels == whole.pixels).all()
    assert "damaged" in image.notes[0]
    plain = encoded(Image.fromarray(COLOURS))
    bomb_chunk = chunk(b"eXIf", bomb.removeprefix(b"Exif\0\0"))
    for place in (33, len(plain) - 12):  # after the header, and after the pixels
        image = parse_image(plain[:place] + bomb_chunk + plain[place:])
        assert (image.pixels == COLOURS).all()
        assert "damaged" in image.notes[0]


def test_endless_chain_of_pages_ends() -> None:
    page = struct.pack("<H", 0) + struct.pack("<I", 8)  # a directory without tags, its own next
    with pytest.raises(ImageBroken):
        parse_image(b"II*\0" + struct.pack("<I", 8) + page)
    pages = b"".join(struct.pack("<HI", 0, 8 + 6 * (index + 1)) for index in range(5000))
    with pytest.raises(ImageBroken, match="4096 TIFF pages"):
        parse_image(b"II*\0" + struct.pack("<I", 8) + pages)


@pytest.mark.parametrize("size", [(8, 2000), (2000, 8), (100, 3201)])
def test_an_image_that_resizing_would_blow_up_is_refused(size):
    """The shorter side grows to the model's size, and the longer with it, before the crop."""
    buffer = io.BytesIO()
    Image.new("L", size).save(buffer, "PNG")
    with pytest.raises(ImageTooLarge, match="at most 32 times the other"):
        parse_image(buffer.getvalue())


@pytest.mark.parametrize("kind", [b"tEXt", b"zTXt", b"iTXt"])
@pytest.mark.parametrize("size", [100, 3 * 2**20])
def test_long_texts_of_a_png_are_left_out(kind: bytes, size: int) -> None:
    text = b"x" * size
    body = {
        b"tEXt": b"Comment\0" + text,
        b"zTXt": b"Comment\0\0" + zlib.compress(text),
        b"iTXt": b"Comment\0\1\0\0\0" + zlib.compress(text),
    }[kind]
    plain = encoded(Image.fromarray(COLOURS))
    for place in (33, len(plain) - 12):
        for times in (1, 60):
            many = chunk(kind, body) * (1 if kind == b"tEXt" else times)
            image = parse_image(plain[:place] + many + plain[place:])
            assert (image.pixels == COLOURS).all()


@pytest.mark.parametrize("kind", [b"tEXt", b"gAMA", b"pHYs", b"vpAg", b"iCCP"])
def test_damaged_chunk_of_a_png_without_pixels_is_left_out(kind: bytes) -> None:
    plain = encoded(Image.fromarray(COLOURS))
    damaged = bytearray(chunk(kind, b"Comment\0\0four"))
    damaged[-1] ^= 1
    image = parse_image(plain[:33] + bytes(damaged) + plain[33:])
    assert (image.pixels == COLOURS).all()
    assert any("damaged chunk" in note for note in image.notes)


@pytest.mark.parametrize("kind", [b"tRNS", b"eXIf"])
def test_damaged_chunk_of_a_png_that_decides_the_picture_is_refused(kind: bytes) -> None:
    exif = Image.Exif()
    exif[274] = 6
    picture = Image.fromarray(COLOURS)
    data = bytearray(encoded(picture, transparency=(1, 2, 3), exif=exif.tobytes()))
    start = data.index(kind)
    size = int.from_bytes(data[start - 4 : start], "big")
    data[start + 4 + size] ^= 1
    with pytest.raises(ImageBroken):
        parse_image(bytes(data))


@pytest.mark.parametrize("size", [2**10, 2**22])
def test_long_profile_of_a_png_is_ignored_with_a_note(size: int) -> None:
    profile = b"Adobe RGB (1998)" + np.random.default_rng(1).bytes(size)
    image = parse_image(encoded(Image.fromarray(COLOURS), icc_profile=profile))
    assert (image.pixels == COLOURS).all()
    assert image.notes == ("The file's colour profile (ICC) was not applied.",)


@pytest.mark.parametrize("method", [1, 2, 3])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_colour_profile_of_a_jpeg_2000_file_is_noted(mode: str, method: int) -> None:
    plain = encoded(Image.fromarray(COLOURS).convert(mode), "JPEG2000")
    start = plain.index(b"colr") - 4
    stop = start + int.from_bytes(plain[start : start + 4], "big")
    body = bytes([method, 0, 0]) + (plain[start + 11 : stop] if method == 1 else bytes(200))
    box = struct.pack(">I4s", 8 + len(body), b"colr") + body
    header = plain.index(b"jp2h") - 4
    size = int.from_bytes(plain[header : header + 4], "big") + len(box) - (stop - start)
    data = plain[:start] + box + plain[stop:]
    data = data[:header] + struct.pack(">I", size) + data[header + 4 :]
    image = parse_image(data)
    assert (image.pixels == parse_image(plain).pixels).all()
    assert bool(image.notes) == (method != 1)


@pytest.mark.parametrize("format_", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("body", [b"garbage", b"II+\0\x08\0\0\0"])
def test_exif_that_is_no_tiff_is_ignored_with_a_note(body: bytes, format_: str) -> None:
    picture = Image.fromarray(COLOURS)
    plain = parse_image(encoded(picture, format_, quality=90))
    image = parse_image(encoded(picture, format_, quality=90, exif=b"Exif\0\0" + body))
    assert (image.pixels == plain.pixels).all()
    assert any("EXIF" in note for note in image.notes)


def test_orientation_in_the_text_of_a_png_is_still_read() -> None:
    exif = Image.Exif()
    exif[274] = 6
    raw = exif.tobytes().hex().encode()
    body = b"Raw profile type exif\0\0" + zlib.compress(b"\nexif\n%8d\n%s\n" % (len(raw) // 2, raw))
    plain = encoded(Image.fromarray(COLOURS))
    image = parse_image(plain[:33] + chunk(b"zTXt", body) + plain[33:])
    assert (image.pixels == COLOURS.transpose(1, 0, 2)[:, ::-1]).all()


@pytest.mark.parametrize(
    ("marker", "precision", "named"),
    [
        (0xC1, 12, "JPEG with 12 bits"),
        (0xC2, 12, "JPEG with 12 bits"),
        (0xC3, 16, "lossless JPEG with 16 bits"),
        (0xC3, 8, "lossless JPEG with 8 bits"),
        (0xF7, 8, "JPEG-LS with 8 bits"),
    ],
)
def test_kind_of_jpeg_without_a_decoder_is_named(marker: int, precision: int, named: str) -> None:
    data = bytearray(encoded(Image.new("L", (16, 16)), "JPEG"))
    start = data.index(b"\xff\xc0")
    data[start + 1], data[start + 4] = marker, precision
    with pytest.raises(PixelsUnsupported, match=named):
        parse_image(bytes(data))


@pytest.mark.parametrize("format_", ["PNG", "JPEG", "TIFF", "WEBP"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_colour_profile_is_noted_unless_it_is_srgb(format_: str, mode: str) -> None:
    picture = Image.fromarray(COLOURS).convert(mode)
    plain = parse_image(encoded(picture, format_))
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for profile, noted in ((b"Adobe RGB (1998)" + bytes(200), True), (srgb, False)):
        image = parse_image(encoded(picture, format_, icc_profile=profile))
        assert (image.pixels == plain.pixels).all()
        assert ("The file's colour profile (ICC) was not applied." in image.notes) == noted
