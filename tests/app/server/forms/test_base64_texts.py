"""Files in base64 are decoded in pieces, wherever a piece ends."""

import base64

import pytest

from app.server.forms import base64_texts
from app.server.forms.base64_texts import decode_text

LONG = bytes(range(256)) * 9000  # more than two pieces


def _escape(text: bytes) -> bytes:
    """As PHP and .NET write it."""
    return text.replace(b"/", b"\\/").replace(b"+", b"\\u002B")


@pytest.mark.parametrize("data", [b"", b"a", b"ab", b"abc", LONG, LONG + b"a"])
@pytest.mark.parametrize("write", [bytes, _escape])
def test_what_was_encoded_comes_back(data: bytes, write: type[bytes]) -> None:
    assert decode_text(memoryview(write(base64.b64encode(data)))) == data


@pytest.mark.parametrize("shift", range(7))
def test_an_escape_may_lie_across_two_pieces(shift: int) -> None:
    text = b"A" * (base64_texts._PIECE - shift) + b"\\u002B" + b"A" * (shift + 3)
    text += b"A" * (-(len(text) - 5) % 4)
    expected = base64.b64decode(text.replace(b"\\u002B", b"+"))
    assert decode_text(memoryview(text)) == expected


@pytest.mark.parametrize(
    "text",
    [b"A", b"AAA", b"AA=A", b"AA==AAAA", b"A A=", b"AAA\\", b"\\u00", b"\\ud800AAA", b"AA\nA"],
)
def test_what_is_no_base64_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - json's, binascii's and ours
        decode_text(memoryview(text))


def test_padding_ends_the_text_wherever_it_stands() -> None:
    text = b"A" * (base64_texts._PIECE - 2) + b"==" + b"AAAA"
    with pytest.raises(ValueError, match="padding"):
        decode_text(memoryview(text))
