"""Stored records of a certification that cannot be read: they are logged, or replaced by None."""

from typing import TypeVar

from pydantic import BaseModel, ValidationError

from models.log import get_logger

log = get_logger(__name__)

T = TypeVar("T", bound=BaseModel)


class RecordDamaged(ValueError):
    """A stored record of a certification cannot be read."""


def say_damaged(certification_id: str, what: str, do: str) -> None:
    log.error("record_damaged", certification_id=certification_id, record=what, do=do)


WHAT_TO_DO = "look at the disk and memory of Redis; the image has to be sent again"


def parse_or_none(schema: type[T], data: bytes | str, certification_id: str, what: str) -> T | None:
    """Parses a record that may be missing. An unreadable one is logged and counts as missing."""
    try:
        return schema.model_validate_json(data)
    except ValidationError:
        say_damaged(certification_id, what, "nothing: it is made anew")
        return None
