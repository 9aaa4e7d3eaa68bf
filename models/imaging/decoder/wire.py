"""Messages between a process and its decoders: a JSON head and bytes, with no pickles."""

import json
import socket
import struct
from typing import Any

from models.files.untrusted_text import parse_json

_LENGTHS = struct.Struct(">IQ")  # of head and body
_MAX_HEAD = 2**20

Head = dict[str, Any]


def send(channel: socket.socket, head: Head, body: bytes = b"") -> None:
    """Sends one message without copying the body."""
    text = json.dumps(head).encode()
    channel.sendall(_LENGTHS.pack(len(text), len(body)) + text)
    channel.sendall(body)


def receive(channel: socket.socket) -> tuple[Head, bytes] | None:
    """Returns the next message, or None if the other side has ended.

    Raises:
        ValueError: the bytes are not a message.
    """
    lengths = _receive_exactly(channel, _LENGTHS.size)
    if lengths is None:
        return None
    head_bytes, body_bytes = _LENGTHS.unpack(lengths)
    if head_bytes > _MAX_HEAD:
        raise ValueError(f"a head must have at most {_MAX_HEAD} bytes")
    head = _receive_exactly(channel, head_bytes)
    body = _receive_exactly(channel, body_bytes)
    return None if head is None or body is None else (_parse_head(head), body)


def parse(message: bytes) -> tuple[Head, bytes]:
    """Returns the message in these bytes, as `receive` does; they may have been tampered with.

    Raises:
        ValueError: the bytes are not a message.
    """
    if len(message) < _LENGTHS.size:
        raise ValueError("a message must start with its lengths")
    head_bytes, body_bytes = _LENGTHS.unpack_from(message)
    body_at = _LENGTHS.size + head_bytes
    if len(message) != body_at + body_bytes:
        raise ValueError("a message must be as long as it states")
    return _parse_head(message[_LENGTHS.size : body_at]), message[body_at:]


def _parse_head(text: bytes) -> Head:
    head = parse_json(text)
    if not isinstance(head, dict):
        raise ValueError("a head must be a JSON object")
    return head


def _receive_exactly(channel: socket.socket, size: int) -> bytes | None:
    buffer = bytearray(size)
    view = memoryview(buffer)
    while view:
        received = channel.recv_into(view)
        if received == 0:
            return None
        view = view[received:]
    return bytes(buffer)
