"""Puts the prompts on a worker host's disk into Redis, for all hosts."""

from pathlib import Path

from redis import Redis

from models.log import get_logger
from models.prompts.catalogue import find_cards
from models.prompts.files import load_prompt
from worker.store.prompts import put_prompt

log = get_logger(__name__)


def publish_prompts(redis: Redis, folder: Path | None) -> int:
    """Stores the shipped prompts and those in the host's folder, and returns their number.

    Storing a prompt again changes nothing. A prompt that cannot be used is logged and left out; the
    host serves the others.
    """
    stored = 0
    try:
        for path in find_cards(folder):
            stored += _publish(redis, path)
    except NotADirectoryError as error:
        log.error("prompts_unusable", reason=str(error))
    return stored


def _publish(redis: Redis, path: Path) -> bool:
    try:
        put_prompt(redis, *load_prompt(path))
    except (ValueError, OSError) as error:  # damaged, another host's id, not readable
        log.error("prompt_unusable", reason=str(error))
        return False
    return True
