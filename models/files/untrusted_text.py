"""Parses untrusted JSON and TOML; every error is a ValueError."""

import json
import tomllib
from typing import Any

_TOO_DEEP = "it is nested too deeply"


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
