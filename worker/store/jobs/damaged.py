"""Stored records of a certification that cannot be read: they are logged, or replaced by None."""

from collections.abc import Callable
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from models.log import get_logger

log = get_logger(__name__)

T = TypeVar("T")
Model = TypeVar("Model", bound=BaseModel)
_WHAT_TO_DO = "look at the disk and memory of Redis; the image has to be sent again"


class RecordDamaged(ValueError):
    """A stored record of a certification cannot be read."""


def _say_damaged(certification_id: str, what: str, do: str) -> None:
    log.error("record_damaged", certification_id=certification_id, record=what, do=do)


def parse_record(
    parse: Callable[[bytes | str], T], data: bytes | str, certification_id: str, what: str
) -> T:
    """Parses a record that must not be missing. One that cannot be read is logged.

    Raises:
        RecordDamaged: it cannot be read.
    """
    try:
        return parse(data)
    except ValidationError:
        _say_damaged(certification_id, what, _WHAT_TO_DO)
        raise RecordDamaged(f"the {what} of {certification_id} cannot be read") from None


def parse_or_none(
    schema: type[Model], data: bytes | str, certification_id: str, what: str
) -> Model | None:
    """Parses a record that may be missing. An unreadable one is logged and counts as missing."""
    try:
        return schema.model_validate_json(data)
    except ValidationError:
        _say_damaged(certification_id, what, "nothing: it is made anew")
        return None
