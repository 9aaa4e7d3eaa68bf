"""The largest bodies that are allowed, each as costly as we could think of.

What is refused alike whatever its length is a quarter of that long, for the ring's sake.
"""

import io
import json
import struct
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

MOST = 64 * 2**20  # bytes of a body, the default of PROMPTSMOOTH_MAX_BODY_BYTES
_JSON = "application/json"
_HEAD = b'{"image":["iVBORw0K"],"sigma":["0.25"],'
_BOUNDARY = b"hostile"


@dataclass(frozen=True, kw_only=True)
class Shape:
    """One body, and where it goes."""

    name: str
    path: str
    kind: str
    body: bytes


def create_shapes() -> Iterator[Shape]:
    """Every address that takes a body, every shape; made one by one, for each is large."""
    yield from _certify_json()
    yield from _certify_forms()
    yield from _certify_texts()
    yield from _other_forms()
    yield from _audits()


def _certify_json() -> Iterator[Shape]:
    for name, filling in (
        ("numbers", (b'"n":[', b"1,", b"1]}")),
        ("names", (b'"n":[', b'{"a":1},', b"1]}")),
        ("nesting", (b'"n":', b"[", b"")),
        ("closing", (b'"n":[', b"]", b"")),
        ("strings", (b'"class_name":[', b'"",', b'""]}')),
        ("escapes", (b'"model":"', b"\\u0041", b'"}')),
        ("quotes", (b'"model":"', b'\\"', b'"}')),
        ("backslashes", (b'"model":"', b"\\", b'"}')),
        ("surrogates", (b'"model":"', b"\\ud800", b'"}')),
        ("spaces", (b'"model":', b" ", b'"a"}')),
    ):
        size = MOST if name in ("numbers", "quotes") else MOST // 4
        yield _certify(name, _JSON, _fill(_HEAD + filling[0], filling[1], filling[2], size))
    for name, text in (("base64", b"iVBORw0K"), ("escaped base64", b"\\u002B\\/")):
        yield _certify(name, _JSON, _fill(b'{"sigma":["0.25"],"image":["', text, b'"]}'))
    yield _certify("nothing between", _JSON, _fill(b'{"targets":[', b"{},", b"{}]}", 1_000_000))


def _certify_forms() -> Iterator[Shape]:
    sigma, image = (b"sigma", b"0.25"), (b"image", b"x")
    numbers = _fill(b"[", b"1,", b"1]", 1_000_000)
    wide = [(b"class_name", b"%d" % i + b"x" * 100_000) for i in range(500)]
    many = [(b"class_name", b"x" * 1000) for _ in range(500)]
    for name, fields, files in (
        ("integers in targets", [sigma, (b"targets", numbers)], [image]),
        ("objects in targets", [sigma, (b"targets", _fill(b"[", b"{},", b"{}]", 1_000_000))], []),
        ("wide names", [sigma, *wide], [image]),
        ("equal names", [sigma, *many], [image]),
        ("a file", [sigma], [(b"image", b"\r\n--hostil" * (MOST // 11))]),
        ("files", [sigma], [(b"image", b"\r\n-" * (MOST // 70))] * 16),
    ):
        yield _certify(f"form: {name}", *create_form(fields, files))
    yield _certify("form: fields", *create_form([(b"f%d" % i, b"") for i in range(400_000)], []))
    yield Shape(name="the image", path="/certify?sigma=1", kind="image/png", body=b"x" * MOST)
    query = "/certify?sigma=1" + "&n=1" * 15_000
    yield Shape(name="parameters", path=query, kind="image/png", body=b"x")


def _certify_texts() -> Iterator[Shape]:
    """Targets that are accepted, as long as they may be."""
    names = [f"{i:03}" + "ж" * 102 for i in range(100)]
    targets = [{"template": f"{i} {{}}.", "class_names": names} for i in range(16)]
    text = json.dumps(targets).encode()
    form = create_form([(b"sigma", b"0.25"), (b"targets", text)], [(b"image", b"x")])
    yield _certify("form: long names in targets", *form)
    body = b'{"image":["iVBORw0K"],"sigma":["0.25"],"targets":%s}' % text
    yield _certify("long names in targets", _JSON, body)


def _other_forms() -> Iterator[Shape]:
    for path in ("/preview", "/prompts", "/prompts/learn"):
        urlencoded = "application/x-www-form-urlencoded"
        yield Shape(name="urlencoded", path=path, kind=urlencoded, body=b"a=1&" * (MOST // 16))
        kind, body = create_form([(b"image_class", b"x" * 8000)] * 760, [(b"image", b"x")])
        yield Shape(name="fields", path=path, kind=kind, body=body)
    common = [(b"id", b"hostile"), (b"model", b"bundled-2"), (b"class_name", b"a")]
    for name, file in (
        ("JSON of numbers", _fill(b'{"ctx":[', b"1,", b"1]}", 4 * 2**20)),
        ("JSON of text", _fill(b'{"ctx":"', b"AAAA", b'","n_ctx":1,"width":1,"suffix":"."}')),
        ("safetensors", struct.pack("<Q", 65_000) + _fill(b'{"a":[', b"1,", b"1]}", 65_000)),
    ):
        kind, body = create_form([*common, (b"class_name", b"b")], [(b"file", file[: MOST - 2000])])
        yield Shape(name=name, path="/prompts", kind=kind, body=body)
    kind, body = create_form([(b"id", b"hostile")], [(b"zip", _create_zip(40_000))])
    yield Shape(name="a zip of many", path="/prompts/learn", kind=kind, body=body)


def _audits() -> Iterator[Shape]:
    for name, (begins, filling, ends) in {
        "numbers": (b'{"certificates":[', b"1,", b"1]}"),
        "names": (b'{"certificates":[', b'{"a":1},', b"1]}"),
        "nesting": (b'{"certificates":', b"[", b""),
    }.items():
        body = _fill(begins, filling, ends, 4 * 2**20)
        yield Shape(name=name, path="/audit", kind=_JSON, body=body)
    counts = {"looks": [{"n": 64, "counts": [1] * 100, "ambiguous": 0}] * 4000}
    body = json.dumps({"status": "finished", "certificates": [counts]}).encode()
    yield Shape(name="looks", path="/audit", kind=_JSON, body=body)


def _certify(name: str, kind: str, body: bytes) -> Shape:
    return Shape(name=name, path="/certify", kind=kind, body=body)


def _fill(begins: bytes, filling: bytes, ends: bytes, size: int = MOST) -> bytes:
    return begins + filling * ((size - len(begins) - len(ends)) // len(filling)) + ends


def create_form(
    fields: Sequence[tuple[bytes, bytes]], files: Sequence[tuple[bytes, bytes]]
) -> tuple[str, bytes]:
    part = b'--%s\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
    parts = [part % (_BOUNDARY, name, b"", value) for name, value in fields]
    parts += [part % (_BOUNDARY, name, b'; filename="a"', value) for name, value in files]
    body = b"".join(parts) + b"--%s--\r\n" % _BOUNDARY
    return f"multipart/form-data; boundary={_BOUNDARY.decode()}", body


def _create_zip(entries: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for i in range(entries):
            archive.writestr(f"{i % 7}/{i}.png", b"")
    return file.getvalue()
