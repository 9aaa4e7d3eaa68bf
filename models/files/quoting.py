"""Quotes untrusted text in messages; no torch."""

MOST = 60


def quote(text: str) -> str:
    """Returns the text in quotation marks, shortened to at most `MOST` characters."""
    return repr(text if len(text) <= MOST else f"{text[: MOST - 1]}…")
