"""Texts of others in our sentences. No torch."""

MOST = 60


def quote(text: str) -> str:
    """The text in quotation marks; of a long one the beginning, `MOST` characters in all."""
    return repr(text if len(text) <= MOST else f"{text[: MOST - 1]}…")
