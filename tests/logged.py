"""What our code logged: the event word and the fields of each line."""

from typing import Any

import pytest


def list_events(caplog: pytest.LogCaptureFixture, event: str | None = None) -> list[dict[str, Any]]:
    """The events so far, those with this word if one is given."""
    events = [record.msg for record in caplog.records if isinstance(record.msg, dict)]
    return [found for found in events if event in (None, found["event"])]
