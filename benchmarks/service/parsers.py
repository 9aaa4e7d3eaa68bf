"""What reading a request of 0.6 MB costs: python benchmarks/service/parsers.py

Feeds one POST to h11, which the app reads HTTP with, and to httptools where that is installed
beside it, in pieces of the sizes that a socket gives. Prints CPU milliseconds a request.
"""

import sys
import time
from collections.abc import Callable
from importlib import import_module
from types import SimpleNamespace

import h11

REPEATS = 500
BODY = bytes(600_000)
REQUEST = b"POST /certify HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
IGNORED = SimpleNamespace(on_header=lambda *_: None, on_body=lambda _: None)


def read_with_h11(pieces: list[bytes]) -> None:
    connection = h11.Connection(h11.SERVER)
    for piece in pieces:
        connection.receive_data(piece)
        while not isinstance(event := connection.next_event(), h11.EndOfMessage):
            if event is h11.NEED_DATA:
                break


def read_with_httptools(pieces: list[bytes]) -> None:
    parser = import_module("httptools").HttpRequestParser(IGNORED)
    for piece in pieces:
        parser.feed_data(piece)


def measure(read: Callable[[list[bytes]], None], size: int) -> float:
    """CPU milliseconds a request that comes in pieces of this many bytes."""
    pieces = [REQUEST[at : at + size] for at in range(0, len(REQUEST), size)]
    began = time.process_time()
    for _ in range(REPEATS):
        read(pieces)
    return 1000 * (time.process_time() - began) / REPEATS


def main() -> None:
    """Measures each parser that is installed."""
    for read in (read_with_h11, read_with_httptools):
        for size in (65_536, 262_144):
            try:
                said = f"{measure(read, size):.3f} ms"
            except ModuleNotFoundError:
                said = "not installed"
            sys.stdout.write(f"{read.__name__}, pieces of {size} bytes: {said}\n")


if __name__ == "__main__":
    main()
