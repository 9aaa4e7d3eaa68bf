"""Numbers and windows in a form as people write them.

Python would also read 1_0, ٣ and Infinity as numbers.
"""

import re

from pydantic import BeforeValidator, WithJsonSchema

from models.imaging import RequestedWindow

_DECIMAL = re.compile(r"\d{0,12}\.?\d{1,16}([eE][+-]?\d{1,2})?", re.ASCII)
_WHOLE = re.compile(r"\d{1,18}", re.ASCII)
_NUMBER = r"-?[0-9]{1,9}(\.[0-9]{1,9})?"
WINDOW = rf"^(auto|{_NUMBER},{_NUMBER})$"


def _check_decimal(value: object) -> object:
    if not isinstance(value, str) or not _DECIMAL.fullmatch(value):
        raise ValueError("not a plain decimal")
    return value


def _check_whole(value: object) -> object:
    if not isinstance(value, str) or not _WHOLE.fullmatch(value):
        raise ValueError("not a plain whole number")
    return value


PLAIN_DECIMAL = BeforeValidator(_check_decimal)
PLAIN_WHOLE = BeforeValidator(_check_whole)
DECIMAL_TEXT = WithJsonSchema({"type": "string", "pattern": f"^{_DECIMAL.pattern}$"})


def read_window(text: str | None) -> RequestedWindow:
    """The window as imaging takes it; `text` matches `WINDOW` or is None."""
    if text is None:
        return None
    if text == "auto":
        return "auto"
    centre, width = map(float, text.split(","))
    return centre, width
