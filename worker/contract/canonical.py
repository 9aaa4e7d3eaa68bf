"""One spelling of a JSON value, so that equal requests are equal bytes."""

from typing import Any

import rfc8785


def canonical_bytes(request: dict[str, Any]) -> bytes:
    """RFC 8785 form of a request: equal requests are equal bytes, whatever their spelling."""
    return rfc8785.dumps(request)
