"""JSON and TOML that nobody vouches for: whatever is wrong with it is a ValueError."""

import json
import tomllib
from typing import Any

_TOO_DEEP = "it is nested too deeply"


def parse_json(content: str | bytes) -> Any:
    """What a JSON text holds.

    Raises:
        ValueError: no JSON, or nested deeper than Python's parser goes.
    """
    try:
        return json.loads(content)
    except RecursionError as error:
        raise ValueError(_TOO_DEEP) from error


def parse_toml(text: str) -> dict[str, Any]:
    """What a TOML text holds.

    Raises:
        ValueError: no TOML, or nested deeper than Python's parser goes.
    """
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise ValueError(_TOO_DEEP) from error
