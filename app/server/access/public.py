"""What needs no key."""

PUBLIC = frozenset(
    {"/", "/healthz", "/readyz", "/version", "/docs", "/redoc", "/openapi.json", "/favicon.ico"}
)
"""What anybody may ask: that the service lives, what it is, and its pages, which hold no data."""
_PUBLIC_FOLDER = "/static/"


def is_public(path: str) -> bool:
    """Whether an address needs no key."""
    return path in PUBLIC or path.startswith(_PUBLIC_FOLDER)
