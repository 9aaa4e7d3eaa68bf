"""Files in base64 within a JSON document, decoded a piece at a time.

A piece takes about a millisecond, so other threads have their turn between two pieces.
"""

import base64
import json

_PIECE = 2**20
_LONGEST_ESCAPE = 6


def decode_text(text: memoryview) -> bytes:
    """The bytes that a JSON string holds in base64 (RFC 4648, with padding).

    Args:
        text: the string as it is written, without its quotation marks. It may have escapes: some
            programs write + as \\u002B and / as \\/.

    Raises:
        ValueError: the string is not base64.
    """
    found: list[bytes] = []
    raw = plain = b""
    for at in range(0, len(text), _PIECE):
        raw += text[at : at + _PIECE]
        whole = len(raw) if at + _PIECE >= len(text) else _find_whole(raw)
        plain += _unescape(raw[:whole])
        raw = raw[whole:]
        ready = len(plain) // 4 * 4
        if found and len(found[-1]) % 3:
            raise ValueError("padding before the end")
        found.append(base64.b64decode(plain[:ready], validate=True))
        plain = plain[ready:]
    if plain:
        raise ValueError("not a multiple of four characters")
    return b"".join(found)


def _find_whole(raw: bytes) -> int:
    """The length without an escape that may go on in the next piece."""
    at = raw.rfind(b"\\", len(raw) - _LONGEST_ESCAPE)
    return len(raw) if at < 0 else at


def _unescape(raw: bytes) -> bytes:
    if b"\\" not in raw:
        return raw
    text: str = json.loads(b'"%s"' % raw)
    return text.encode("ascii")
