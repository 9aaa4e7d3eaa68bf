"""JSON of others, read only where every reader reads the same value."""

import json
from typing import Any, NoReturn


class WrittenNumber(str):
    """A number of a JSON text, as it was written there."""

    __slots__ = ()


def parse_strict(text: str | bytes, *, as_written: bool = False) -> Any:
    """The value of a JSON text; with `as_written` every number is a `WrittenNumber`.

    Raises:
        ValueError: no JSON, a name twice in one object, NaN or Infinity, or nested too deeply.
    """
    number = WrittenNumber if as_written else None
    try:
        return json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_refuse,
            parse_float=number,
            parse_int=number,
        )
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")  # readers would disagree about which one counts
    return found


def _refuse(_: str) -> NoReturn:
    raise ValueError("NaN and Infinity are no JSON")
