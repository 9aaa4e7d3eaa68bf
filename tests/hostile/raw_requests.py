"""Requests that HTTP does not allow, or hardly allows, as the bytes that are sent."""

from collections.abc import Iterator
from typing import NamedTuple

_HOST = b"Host: 127.0.0.1\r\n"


class Raw(NamedTuple):
    """One odd request. `sound` is one that may be answered with success."""

    name: str
    sent: bytes
    sound: bool = False


def create_raw_requests() -> Iterator[Raw]:
    """All of them; none carries a key."""
    yield from _lines()
    yield from _headers()
    yield from _bodies()
    yield from _targets()


def _lines() -> Iterator[Raw]:
    for name, line in (
        ("no request line", b""),
        ("a method alone", b"GET"),
        ("no version", b"GET /healthz"),
        ("a version of its own", b"GET /healthz HTTP/3.7"),
        ("HTTP/2's preface", b"PRI * HTTP/2.0"),
        ("a lower-case method", b"get /healthz HTTP/1.1"),
        ("an unknown method", b"BREW /healthz HTTP/1.1"),
        ("a long method", b"X" * 10_000 + b" / HTTP/1.1"),
        ("a tab between", b"GET\t/healthz\tHTTP/1.1"),
        ("nulls", b"GET /health\0z HTTP/1.1"),
        ("bytes above 127", b"GET /\xff\xfe HTTP/1.1"),
        ("TRACE", b"TRACE / HTTP/1.1"),
        ("CONNECT", b"CONNECT 127.0.0.1:22 HTTP/1.1"),
    ):
        yield Raw(name, line + b"\r\n" + _HOST + b"\r\n")
    yield Raw("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 200)
    yield Raw("line feeds alone", b"GET /healthz HTTP/1.1\nHost: a\n\n", sound=True)
    yield Raw("HTTP/1.0", b"GET /healthz HTTP/1.0\r\n\r\n", sound=True)
    yield Raw("OPTIONS *", b"OPTIONS * HTTP/1.1\r\n" + _HOST + b"\r\n", sound=True)


def _headers() -> Iterator[Raw]:
    for name, header in (
        ("a header without a colon", b"X-Odd"),
        ("a space before the colon", b"X-Odd : 1"),
        ("a folded header", b"X-Odd: 1\r\n 2"),
        ("a null in a header", b"X-Odd: a\0b"),
        ("a header of 100 kB", b"X-Odd: " + b"a" * 100_000),
        ("2,000 headers", b"\r\n".join(b"X-%d: 1" % i for i in range(2000))),
        ("two hosts", b"Host: other"),
        ("an empty name", b": 1"),
        ("an upgrade to h2c", b"Connection: Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk"),
        ("a web socket", b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13"),
        ("a range", b"Range: bytes=5-1"),
        ("a condition", b"If-Match: *\r\nIf-Modified-Since: yesterday"),
        ("odd media types", b"Accept: */*;q=2, ;;, text/"),
        ("a key in pieces", b"Authorization: Bearer\r\nAuthorization: Bearer a"),
        ("a key of odd letters", "Authorization: Bearer ключ".encode()),
        ("a key of 60 kB", b"Authorization: Bearer " + b"a" * 60_000),
        ("another scheme", b"Authorization: Negotiate YII="),
        ("an expectation", b"Expect: the-impossible"),
    ):
        yield Raw(name, b"GET /healthz HTTP/1.1\r\n" + _HOST + header + b"\r\n\r\n", sound=True)
    yield Raw("no host", b"GET /healthz HTTP/1.1\r\n\r\n", sound=True)


def _bodies() -> Iterator[Raw]:
    for name, headers, body in (
        ("two lengths", b"Content-Length: 3\r\nContent-Length: 5", b"abc"),
        ("a length and chunks", b"Content-Length: 3\r\nTransfer-Encoding: chunked", b"0\r\n\r\n"),
        ("a negative length", b"Content-Length: -1", b""),
        ("a length in words", b"Content-Length: three", b"abc"),
        ("a length with a sign", b"Content-Length: +3", b"abc"),
        ("a length of 30 digits", b"Content-Length: " + b"9" * 30, b"abc"),
        ("a length beyond the limit", b"Content-Length: 9999999999", b"abc"),
        ("a chunk of no number", b"Transfer-Encoding: chunked", b"zz\r\nabc\r\n0\r\n\r\n"),
        ("a chunk of 16 digits", b"Transfer-Encoding: chunked", b"f" * 16 + b"\r\nabc"),
        ("a negative chunk", b"Transfer-Encoding: chunked", b"-3\r\nabc\r\n0\r\n\r\n"),
        ("a chunk that is longer", b"Transfer-Encoding: chunked", b"2\r\nabcdef\r\n0\r\n\r\n"),
        ("twice chunked", b"Transfer-Encoding: chunked, chunked", b"0\r\n\r\n"),
        ("another coding", b"Transfer-Encoding: gzip", b"abc"),
        ("gzip", b"Content-Encoding: gzip\r\nContent-Length: 3", b"abc"),
        ("no media type", b"Content-Length: 3", b"abc"),
        ("no boundary", b"Content-Type: multipart/form-data\r\nContent-Length: 3", b"abc"),
        (
            "a boundary of 10 kB",
            b"Content-Type: multipart/form-data; boundary=%s\r\nContent-Length: 3" % (b"b" * 10000),
            b"abc",
        ),
        (
            "an odd charset",
            b"Content-Type: application/json; charset=x\r\nContent-Length: 2",
            b"{}",
        ),
    ):
        head = b"POST /certify HTTP/1.1\r\n" + _HOST + headers + b"\r\n\r\n"
        yield Raw(name, head + body)


def _targets() -> Iterator[Raw]:
    for name, target in (
        ("a null in a path", b"/certifications/%00"),
        ("dots in a path", b"/certifications/../../etc/passwd"),
        ("encoded dots", b"/%2e%2e/%2e%2e/etc/passwd"),
        ("an encoded slash", b"/certifications/a%2Fb"),
        ("half an escape", b"/certifications/%f"),
        ("bytes that are no text", b"/certifications/%ff%fe"),
        ("a path of 50 kB", b"/" + b"a" * 50_000),
        ("a query of 50 kB", b"/certifications?status=" + b"a" * 50_000),
        ("a fragment", b"/certifications#a"),
        ("two slashes", b"//certifications"),
        ("a whole address", b"http://elsewhere.example/certifications"),
        ("a star", b"*"),
        ("a semicolon", b"/certifications;a=b"),
        ("a line in a query", b"/certifications?status=a%0d%0aX-Injected:%201"),
    ):
        yield Raw(name, b"GET " + target + b" HTTP/1.1\r\n" + _HOST + b"\r\n")
