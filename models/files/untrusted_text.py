"""Parses untrusted JSON and TOML, and quotes untrusted text in our messages."""

import json
import re
import tomllib
from typing import Any, NoReturn

from pydantic import ValidationError

MOST_QUOTED = 60
_TOO_DEEP = "it is nested too deeply"
_HALF_OF_A_PAIR = re.compile(r"\\u[dD][89a-fA-F]")  # perhaps: a whole one is a character


def parse_json(content: str | bytes) -> Any:
    """Returns the value in a JSON text.

    Raises:
        ValueError: the text is not JSON, or is nested too deeply for Python's parser.
    """
    try:
        return json.loads(content)
    except RecursionError as error:
        raise ValueError(_TOO_DEEP) from error


def parse_toml(text: str) -> dict[str, Any]:
    """Returns the table in a TOML text.

    Raises:
        ValueError: the text is not TOML, or is nested too deeply for Python's parser.
    """
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise ValueError(_TOO_DEEP) from error


def one_line(error: Exception) -> str:
    """Returns the error's text with its line breaks and indents as single spaces."""
    return " ".join(str(error).split())


def quote(text: str) -> str:
    """Returns the text in quotation marks, shortened to at most `MOST` characters."""
    return repr(text if len(text) <= MOST_QUOTED else f"{text[: MOST_QUOTED - 1]}…")


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


def explain_invalid(error: ValidationError, whole: str) -> str:
    """The first fault of content that does not fit its schema: where, and what was expected.

    What was found there is not repeated, for it may be a secret. `whole` names the content, for a
    fault that lies in no part of it.
    """
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(map(str, first["loc"])) or whole
    return f"{where}: {first['msg'].removeprefix('Value error, ')}"
