"""The field `window` of a form, as people write it."""

from models.imaging import RequestedWindow

_NUMBER = r"-?[0-9]{1,9}(\.[0-9]{1,9})?"
WINDOW = rf"^(auto|{_NUMBER},{_NUMBER})$"


def read_window(text: str | None) -> RequestedWindow:
    """The window as imaging takes it; `text` matches `WINDOW` or is None."""
    if text is None:
        return None
    if text == "auto":
        return "auto"
    centre, width = map(float, text.split(","))
    return centre, width
