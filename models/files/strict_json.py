"""JSON of others, read only where every reader reads the same value."""

import json
import re
from typing import Any, NoReturn

_HALF_OF_A_PAIR = re.compile(r"\\u[dD][89a-fA-F]")  # perhaps: a whole one is a character


class WrittenNumber(str):
    """A number of a JSON text, as it was written there."""

    __slots__ = ()


def parse_strict(text: str | bytes, *, as_written: bool = False) -> Any:
    """The value of a JSON text; with `as_written` every number is a `WrittenNumber`.

    Raises:
        ValueError: no JSON, a name twice in one object, NaN or Infinity, nested too
            deeply, or half of a surrogate pair, which no other text can hold.
    """
    number = WrittenNumber if as_written else None
    text = text.decode(json.detect_encoding(text)) if isinstance(text, bytes) else text
    try:
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_refuse,
            parse_float=number,
            parse_int=number,
        )
        if _HALF_OF_A_PAIR.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")  # readers would disagree about which one counts
    return found


def _refuse(_: str) -> NoReturn:
    raise ValueError("NaN and Infinity are no JSON")
