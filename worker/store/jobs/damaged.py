"""Stored records of a certification that cannot be read: they are logged, or replaced by None.

A record is damaged if its text cannot be parsed, or if its key holds another type of Redis.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from redis import Redis
from redis.exceptions import ResponseError

from models.log import get_logger

log = get_logger(__name__)

T = TypeVar("T")
Model = TypeVar("Model", bound=BaseModel)
_WHAT_TO_DO = "look at the disk and memory of Redis; the image has to be sent again"


class RecordDamaged(ValueError):
    """A stored record of a certification cannot be read."""


def _say_damaged(certification_id: str, what: str, do: str) -> None:
    log.error("record_damaged", certification_id=certification_id, record=what, do=do)


def is_of_another_type(error: object) -> bool:
    """Whether this is what Redis says of a key that holds another type."""
    return isinstance(error, ResponseError) and str(error).startswith("WRONGTYPE")


def read_record(read: Callable[[], Any], certification_id: str, what: str) -> Any:
    """What `read` gets from Redis.

    Raises:
        RecordDamaged: the key holds another type, which is logged.
    """
    try:
        return read()
    except ResponseError as error:
        if not is_of_another_type(error):
            raise
        _say_damaged(certification_id, what, _WHAT_TO_DO)
        raise RecordDamaged(f"the {what} of {certification_id} has another type") from None


def read_all(
    redis: Redis, keys: Sequence[str], certification_ids: Sequence[str], what: str
) -> list[bytes | None]:
    """The texts of several records; None for each that is missing or has another type."""
    with redis.pipeline(transaction=False) as pipeline:
        for key in keys:
            pipeline.get(key)
        found: list[Any] = pipeline.execute(raise_on_error=False)
    for index, error in enumerate(found):
        if isinstance(error, Exception):
            if not is_of_another_type(error):
                raise error
            _say_damaged(certification_ids[index], what, _WHAT_TO_DO)
            found[index] = None
    return found


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
