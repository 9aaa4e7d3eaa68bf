"""The addresses that need no key."""

PUBLIC = frozenset(
    {"/", "/healthz", "/readyz", "/version", "/docs", "/redoc", "/openapi.json", "/favicon.ico"}
)
"""Addresses that anyone may read: health, version and the pages, none of which hold data."""
_PUBLIC_FOLDER = "/static/"


def is_public(path: str) -> bool:
    """Whether an address needs no key."""
    return path in PUBLIC or path.startswith(_PUBLIC_FOLDER)
