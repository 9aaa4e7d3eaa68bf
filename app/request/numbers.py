"""Numbers and windows in a form as people write them.

Python would also read 1_0, ٣ and Infinity as numbers.
"""

import re
from decimal import Decimal
from typing import TypeVar

from pydantic import BeforeValidator, WithJsonSchema

from models.imaging import RequestedWindow

T = TypeVar("T", float, Decimal)
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


def check_different(values: list[T]) -> list[T]:
    """The values, of which none is named twice."""
    if len(set(values)) != len(values):
        raise ValueError("a value is named twice")
    return values


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
