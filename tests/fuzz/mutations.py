"""Changes to good files: of bytes anywhere, and of what the parsers of each format follow."""

import random
import re
import struct
import zlib
from collections.abc import Callable, Sequence

Mutate = Callable[[bytearray, random.Random], None]

_NUMBERS = (0, 1, 2, 7, 8, 9, 15, 16, 17, 32, 64, 127, 128, 255, 256, 4096, 32767, 32768, 65535)
_NUMBERS += (65536, 2**24, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1)
_SYNTAXES = [b"1.2.840.10008.1.2" + rest for rest in (b"", b".1", b".2", b".1.99", b".5")]
_SYNTAXES += [
    b"1.2.840.10008.1.2.4." + rest.encode()
    for rest in ["50", "51", "57", "70", "80", "81", "90", "91", "201"]
]
_PHOTOMETRIC = b"MONOCHROME1,MONOCHROME2,PALETTE COLOR,RGB,YBR_FULL,YBR_FULL_422,YBR_ICT,YBR_RCT"


def mutate(data: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
    """The file with one to a few changes, most of them where its format's parser looks."""
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        own = _find_own(changed)
        how = own if own and chance.random() < 0.6 else chance.choice(_ANYWHERE)
        how(changed, chance)
        if len(changed) < 16:
            break
    if chance.random() < 0.03:
        other = chance.choice(others)
        changed[chance.randrange(len(changed) + 1) :] = other[chance.randrange(len(other)) :]
    return bytes(changed)


def _find_own(data: bytearray) -> Mutate | None:
    if data[128:132] == b"DICM":
        return _dicom
    starts = ((b"\x89PNG", _png), (b"\xff\xd8", _jpeg), (b"II", _tiff), (b"MM", _tiff))
    starts += ((b"\0\0\0\x0cjP", _boxes), (b"\xff\x4f", _markers), (b"RIFF", _riff))
    return next((how for start, how in starts if data.startswith(start)), None)


# Anywhere.


def _set_byte(data: bytearray, chance: random.Random) -> None:
    data[_place(data, chance)] = chance.choice((0, 255, 128, chance.randrange(256)))


def _flip_bit(data: bytearray, chance: random.Random) -> None:
    data[_place(data, chance)] ^= 1 << chance.randrange(8)


def _set_number(data: bytearray, chance: random.Random) -> None:
    kind = chance.choice(("<H", ">H", "<I", ">I"))
    _write(data, _place(data, chance), kind, chance)


def _cut(data: bytearray, chance: random.Random) -> None:
    del data[_place(data, chance) :]


def _drop(data: bytearray, chance: random.Random) -> None:
    place = _place(data, chance)
    del data[place : place + chance.choice((1, 2, 4, 64, 1000))]


def _repeat(data: bytearray, chance: random.Random) -> None:
    place, size = _place(data, chance), chance.choice((1, 4, 40, 400))
    data[place:place] = bytes(data[place : place + size]) * chance.choice((1, 1, 50))


_ANYWHERE: tuple[Mutate, ...] = (_set_byte, _flip_bit, _set_number, _cut, _drop, _repeat)


def _place(data: bytearray, chance: random.Random) -> int:
    """Mostly where headers are."""
    return chance.randrange(chance.choice((min(len(data), 600), min(len(data), 4000), len(data))))


def _write(data: bytearray, place: int, kind: str, chance: random.Random) -> None:
    """One of the numbers that parsers stumble on, or one beside the present."""
    if place < 0 or place + struct.calcsize(kind) > len(data):
        return
    (present,) = struct.unpack_from(kind, data, place)
    number = chance.choice((chance.choice(_NUMBERS), present + chance.choice((-1, 1)), 2 * present))
    struct.pack_into(kind, data, place, number % 256 ** struct.calcsize(kind))


# DICOM: lengths, the numbers of the Image Pixel module, fragments, transfer syntaxes.

_ELEMENT = re.compile(rb"(?s)[\x02\x08\x28\xe0]\x00..(?=[A-Z][A-Z])")
_SHORT = re.compile(rb"(?s)\x28\x00.[\x00-\x30](?:US|SS)\x02\x00")
_FRAGMENT = re.compile(rb"(?s)\xfe\xff[\x00\x0d\xdd]\xe0")


def _dicom(data: bytearray, chance: random.Random) -> None:
    kind = chance.random()
    if kind < 0.35 and (places := [m.end() for m in _SHORT.finditer(data)]):
        _write(data, chance.choice(places), "<H", chance)
    elif kind < 0.65 and (places := [m.start() for m in _ELEMENT.finditer(data[:20_000], 132)]):
        _dicom_element(data, chance.choice(places), chance)
    elif kind < 0.8 and (places := [m.start() for m in _FRAGMENT.finditer(data)]):
        _write(data, chance.choice(places) + 4, "<I", chance)
    elif kind < 0.88 and (found := re.search(rb"1\.2\.840\.10008\.1\.2[.0-9]*", data[132:600])):
        syntax = chance.choice(_SYNTAXES)
        start, size = 132 + found.start(), found.end() - found.start()
        data[start : start + size] = syntax[:size].ljust(size, b"\0")
    elif (
        found := re.search(rb"(MONOCHROME[12]|RGB|YBR_[A-Z_0-9]*|PALETTE COLOR) ?", data)
    ) is not None:
        name = chance.choice(_PHOTOMETRIC.split(b","))
        size = found.end() - found.start()
        data[found.start() : found.end()] = name[:size].ljust(size)


def _dicom_element(data: bytearray, place: int, chance: random.Random) -> None:
    long = bytes(data[place + 4 : place + 6]) in (b"OB", b"OW", b"SQ", b"UN", b"OF", b"UT")
    kind = chance.random()
    if kind < 0.6:
        _write(data, place + (8 if long else 6), "<I" if long else "<H", chance)
    elif kind < 0.8:
        data[place + 4 : place + 6] = chance.choice(
            (b"SQ", b"US", b"DS", b"OW", b"UN", b"IS", b"zz")
        )
    else:
        data[place + 2 : place + 4] = chance.choice(
            (b"\x10\x00", b"\x02\x30", b"\x08\x00", b"\xff\xff")
        )


# TIFF: entries of the directories.


def _tiff(data: bytearray, chance: random.Random) -> None:
    order = "<" if data[:1] == b"I" else ">"
    big = 43 in (data[2], data[3])
    try:
        (at,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
        (count,) = struct.unpack_from(order + ("Q" if big else "H"), data, at)
    except (struct.error, OverflowError):  # a mutation before this one has moved the directory
        return
    size, first = (20, at + 8) if big else (12, at + 2)
    entry = first + size * chance.randrange(min(count, 64) + 1)
    field = chance.choice((0, 2, 4, 4, 12 if big else 8, 12 if big else 8))
    _write(data, entry + field, order + ("H" if field < 4 else "I"), chance)


# JPEG 2000: boxes, marker segments.


def _boxes(data: bytearray, chance: random.Random) -> None:
    if chance.random() < 0.5 and (start := data.find(b"\xff\x4f\xff\x51")) > 0:
        stream = data[start:]
        _markers(stream, chance)
        data[start:] = stream
        return
    places = [m.start() for m in re.finditer(rb"ihdr|colr|jp2h|jp2c|pclr|cdef|ftyp", data)]
    if places:
        place = chance.choice(places)
        _write(data, place + chance.choice((-4, -4, 4, 8, 12)), chance.choice((">I", ">H")), chance)


def _markers(data: bytearray, chance: random.Random) -> None:
    """SIZ, COD, QCD and the others, with their lengths (A.2)."""
    places = [m.start() for m in re.finditer(rb"\xff[\x51-\x64\x90]", data[:600])]
    if places:
        offset = chance.choice((2, 4, 6, 8, 12, 16, 20, 24, 28, 32, 36, 38, 40, 41))
        _write(data, chance.choice(places) + offset, chance.choice((">H", ">I", ">B")), chance)


# JPEG: segments.


def _jpeg(data: bytearray, chance: random.Random) -> None:
    places = [m.start() for m in re.finditer(rb"\xff[\xc0-\xef\xfe]", data)]
    if places:
        offset = chance.choice((1, 2, 4, 5, 7, 9, 10, 11))
        _write(data, chance.choice(places) + offset, chance.choice((">H", ">B")), chance)


# PNG: chunks, with a checksum that is right again.


def _png(data: bytearray, chance: random.Random) -> None:
    places, at = [], 8
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        places.append((at, length))
        at += 12 + length
    if not places:
        return
    at, length = chance.choice(places)
    kind, body = bytes(data[at + 4 : at + 8]), bytearray(data[at + 8 : at + 8 + length])
    if kind == b"IDAT" and chance.random() < 0.5:
        body = _deflated_anew(body, chance)
    elif body:
        _write(body, chance.randrange(len(body)), chance.choice((">I", ">H", ">B")), chance)
    whole = struct.pack(">I", len(body)) + kind + body
    data[at : at + 12 + length] = whole + struct.pack(">I", zlib.crc32(kind + body))


def _deflated_anew(body: bytearray, chance: random.Random) -> bytearray:
    try:
        rows = bytearray(zlib.decompress(body))
    except zlib.error:
        return body
    chance.choice(_ANYWHERE)(rows, chance)
    return bytearray(zlib.compress(rows))


# WebP: chunks.


def _riff(data: bytearray, chance: random.Random) -> None:
    places = [m.start() for m in re.finditer(rb"RIFF|VP8[ XL]|ALPH|EXIF|ANIM", data)]
    if places:
        _write(data, chance.choice(places) + chance.choice((4, 8, 9, 12, 14)), "<I", chance)
