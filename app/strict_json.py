"""JSON of others, read only where every reader reads the same value."""

import json
from typing import Any, NoReturn


def parse_strict(text: str | bytes) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: no JSON, a name twice in one object, NaN or Infinity, or nested too deeply.
    """
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")  # readers would disagree about which one counts
    return found


def _refuse(_: str) -> NoReturn:
    raise ValueError("NaN and Infinity are no JSON")
