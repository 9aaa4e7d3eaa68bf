"""Files that say they are more than they are: images, archives and prompts."""

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Iterator

import numpy as np
import safetensors.numpy
from hostile.shapes import Shape, create_form

SIDES = (0, 1, 65_535, 2**31 - 1)


def create_odd_files(png: bytes) -> Iterator[Shape]:
    """Every file, at the address that takes its kind."""
    for name, content in _images(png):
        kind, body = create_form([(b"sigma", b"0.25")], [(b"image", content)])
        yield Shape(name=f"image: {name}", path="/certify", kind=kind, body=body)
    for name, content in _archives(png):
        kind, body = create_form([(b"id", b"odd"), (b"model", b"bundled-2")], [(b"zip", content)])
        yield Shape(name=f"zip: {name}", path="/prompts/learn", kind=kind, body=body)
    about = [
        (b"id", b"odd"),
        (b"model", b"bundled-2"),
        (b"class_name", b"a"),
        (b"class_name", b"b"),
    ]
    for name, content in _prompts():
        kind, body = create_form(about, [(b"file", content)])
        yield Shape(name=f"prompt: {name}", path="/prompts", kind=kind, body=body)


def _images(png: bytes) -> Iterator[tuple[str, bytes]]:
    yield "nothing", b""
    for cut in (1, 8, 20, 40, len(png) // 2, len(png) - 1):
        yield f"PNG cut at {cut}", png[:cut]
    for width in SIDES:
        for height in SIDES:
            yield f"PNG of {width} × {height}", _png(width, height, zlib.compress(b"\0" * 100))
    yield "PNG that inflates to 100 MB", _png(16, 16, zlib.compress(b"\0" * 100_000_000, 9))
    yield "PNG whose text inflates", _png(16, 16, b"", extra=_text_bomb())
    yield "JPEG of 65,500 × 65,500", _jpeg(65_500, 65_500)
    yield "JPEG of 0 × 0", _jpeg(0, 0)
    yield (
        "JPEG of 2,000 empty scans",
        _jpeg(16, 16) + b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00" * 2000,
    )
    yield "GIF", b"GIF89a" + struct.pack("<HH", 65_535, 65_535) + b"\0" * 30
    yield (
        "BMP",
        b"BM" + struct.pack("<IHHIIiiHH", 60, 0, 0, 54, 40, 2**30, 2**30, 1, 24) + b"\0" * 30,
    )
    for order, mark in (("<", b"II"), (">", b"MM")):
        yield f"TIFF whose directory is itself ({mark!r})", _tiff(order, mark, 8)
        yield f"TIFF of 2³¹ × 2³¹ ({mark!r})", _tiff(order, mark, 0)
    yield "WebP", b"RIFF\xff\xff\xff\xffWEBPVP8L\xff\xff\xff\x7f/" + b"\xff" * 64
    yield "JPEG 2000", b"\xff\x4f\xff\x51\x00\x2f\x00\x00" + b"\xff" * 60
    yield "DICOM of nothing", b"\0" * 128 + b"DICM"
    yield (
        "DICOM with a length of 4 GB",
        _dicom(b"\x08\x00\x18\x00UN\0\0\xff\xff\xff\xfe" + b"a" * 50),
    )
    yield (
        "DICOM of 5,000 sequences",
        _dicom(b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 5000),
    )
    yield "PDF", b"%PDF-1.7\n%%EOF"
    yield (
        "SVG with an entity",
        b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><svg>&b;</svg>',
    )
    yield "a script", b"#!/bin/sh\nrm -rf /\n"
    yield "zeros", b"\0" * 5_000_000


def _png(width: int, height: int, data: bytes, extra: bytes = b"") -> bytes:
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", head)
        + extra
        + _chunk(b"IDAT", data)
        + _chunk(b"IEND", b"")
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _text_bomb() -> bytes:
    return _chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"a" * 50_000_000, 9)) * 20


def _jpeg(width: int, height: int) -> bytes:
    frame = struct.pack(">HBHHB", 11, 8, height, width, 1) + b"\x01\x11\x00"
    return b"\xff\xd8\xff\xdb\x00\x43\x00" + b"\x01" * 64 + b"\xff\xc0" + frame


def _tiff(order: str, mark: bytes, following: int) -> bytes:
    tags = ((256, 2**31 - 1), (257, 2**31 - 1), (258, 8), (259, 1), (262, 1), (273, 8), (279, 9))
    entries = b"".join(struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in tags)
    head = mark + struct.pack(f"{order}HI", 42, 8) + struct.pack(f"{order}H", len(tags))
    return head + entries + struct.pack(f"{order}I", following)


def _dicom(elements: bytes) -> bytes:
    syntax = b"\x02\x00\x10\x00UI\x14\x001.2.840.10008.1.2.1\0"
    group = b"\x02\x00\x00\x00UL\x04\x00" + struct.pack("<I", len(syntax))
    return b"\0" * 128 + b"DICM" + group + syntax + elements


def _archives(png: bytes) -> Iterator[tuple[str, bytes]]:
    yield "nothing", b""
    yield "no archive", b"PK\x05\x06" + b"\xff" * 18
    yield "only an end", b"PK\x05\x06" + b"\0" * 18
    good = _zip({"a/1.png": png, "b/1.png": png})
    for cut in (10, len(good) // 2, len(good) - 5):
        yield f"cut at {cut}", good[:cut]
    for name in (
        "../a/1.png",
        "/a/1.png",
        "a\\..\\..\\1.png",
        "C:\\a\\1.png",
        "a/b/c/1.png",
        "1.png",
    ):
        yield f"named {name}", _zip({name: png, "b/1.png": png})
    yield "class names alike", _zip({"a/1.png": png, "A/1.png": png})
    yield "a class alone", _zip({"a/1.png": png})
    yield "a bomb", _zip({"a/1.png": b"\0" * 200_000_000, "b/1.png": png})
    yield "a zip in a zip", _zip({"a/1.png": good, "b/1.png": good})
    yield "texts", _zip({"a/1.txt": b"text", "b/2.txt": b"text"})
    yield "a link", _linked(png)
    yield (
        "encrypted",
        good.replace(b"PK\x01\x02\x14\x00\x14\x00\x00", b"PK\x01\x02\x14\x00\x14\x00\x01"),
    )
    yield (
        "another method",
        good.replace(
            b"PK\x01\x02\x14\x00\x14\x00\x00\x00\x08", b"PK\x01\x02\x14\x00\x14\x00\x00\x00\x63"
        ),
    )
    yield "sizes that lie", good.replace(struct.pack("<I", len(png)), struct.pack("<I", 2**31))
    yield "5,000 classes", _zip({f"{i}/1.png": b"" for i in range(5000)})


def _zip(files: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()


def _linked(png: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        link = zipfile.ZipInfo("a/1.png")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("b/1.png", png)
    return file.getvalue()


def _prompts() -> Iterator[tuple[str, bytes]]:
    yield "nothing", b""
    yield "a pickle that runs a command", b"cos\nsystem\n(S'touch /tmp/owned'\ntR."
    yield "an archive with a pickle", _zip({"archive/data.pkl": b"cos\nsystem\n(S'true'\ntR."})
    good = safetensors.numpy.save({"ctx": np.ones((4, 64), np.float32)})
    for cut in (4, 8, 20, len(good) - 1):
        yield f"cut at {cut}", good[:cut]
    for value in (np.nan, np.inf, 1e30):
        yield (
            f"numbers {value}",
            safetensors.numpy.save({"ctx": np.full((4, 64), value, np.float32)}),
        )
    for shape in ((0, 64), (4, 63), (4, 64, 1), (64,), (10_000, 64)):
        yield f"shape {shape}", safetensors.numpy.save({"ctx": np.ones(shape, np.float32)})
    yield "whole numbers", safetensors.numpy.save({"ctx": np.ones((4, 64), np.int64)})
    yield "another name", safetensors.numpy.save({"context": np.ones((4, 64), np.float32)})
    yield (
        "two tensors",
        safetensors.numpy.save({"ctx": np.ones((4, 64), np.float32), "b": np.ones(1)}),
    )
    for name, head in (
        ("no object", []),
        (
            "a negative offset",
            {"ctx": {"dtype": "F32", "shape": [4, 64], "data_offsets": [-4, 1020]}},
        ),
        (
            "an offset beyond",
            {"ctx": {"dtype": "F32", "shape": [4, 64], "data_offsets": [0, 2**40]}},
        ),
        (
            "a type of its own",
            {"ctx": {"dtype": "X9", "shape": [4, 64], "data_offsets": [0, 1024]}},
        ),
        (
            "a shape of 2⁶⁰",
            {"ctx": {"dtype": "F32", "shape": [2**60, 4], "data_offsets": [0, 1024]}},
        ),
        ("metadata of lists", {"__metadata__": {"a": []}}),
    ):
        text = json.dumps(head).encode()
        yield name, struct.pack("<Q", len(text)) + text + b"\0" * 1024
    yield "a head of 2⁶³ bytes", struct.pack("<Q", 2**63) + b"{}"
    for name, document in (
        ("JSON of a list", []),
        ("JSON of no rows", {"ctx": "", "n_ctx": 0, "width": 64, "suffix": "."}),
        ("JSON whose base64 lies", {"ctx": "!!", "n_ctx": 4, "width": 64, "suffix": "."}),
        ("JSON with a wide row", {"ctx": "AAAA", "n_ctx": 1, "width": 10**12, "suffix": "."}),
    ):
        yield name, json.dumps(document).encode()
