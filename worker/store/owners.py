"""Whose records are stored: a service without keys must not show everyone what belongs to some."""

from collections.abc import Iterator
from contextlib import suppress

from pydantic import ValidationError
from redis import Redis

from worker.contract import ANONYMOUS
from worker.contract.learning import LearningJob
from worker.store import keyspace
from worker.store.connection import as_text

_AT_ONCE = 500


def find_key_owner(redis: Redis) -> str | None:
    """The id of a key that something stored belongs to; None if nothing belongs to any."""
    return next((owner for owner in _list_owners(redis) if owner != ANONYMOUS), None)


def _list_owners(redis: Redis) -> Iterator[str]:
    """The owners of prompts, certifications and learnings, each once or more."""
    yield from map(as_text, redis.hvals(keyspace.PROMPT_OWNERS))
    for key in redis.scan_iter(keyspace.listed("*"), count=_AT_ONCE):
        yield as_text(key).rpartition(":")[2]
    for key in redis.scan_iter(keyspace.learning_job("*"), count=_AT_ONCE):
        with suppress(ValidationError):
            if (stored := redis.get(key)) is not None:
                yield LearningJob.model_validate_json(stored).owner
