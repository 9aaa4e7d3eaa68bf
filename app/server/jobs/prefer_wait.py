"""`Prefer: wait=N` (RFC 7240): the answer may wait a little so that it can be complete."""

import re
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeVar

import anyio
from anyio import to_thread

from app.server.answers.problems import QUEUE_AWAY

_WAIT = re.compile(r'\s*wait\s*=\s*"?(\d{1,18})"?\s*(;.*)?', re.ASCII | re.IGNORECASE)
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 0.5
T = TypeVar("T")


def parse_wait(prefer: Sequence[str], *, cap_s: int) -> int | None:
    """The seconds to wait, at most `cap_s`; None if the header asks for no valid wait."""
    preferences = (part for header in prefer for part in header.split(","))
    matches = (_WAIT.fullmatch(part) for part in preferences)
    asked = next((int(found[1]) for found in matches if found), None)
    return None if asked is None else min(asked, cap_s)


async def wait_until(look: Callable[[], T], done: Callable[[T], bool], wait_s: float) -> T | None:
    """Polls in a thread until the result is done. Returns None if time runs out.

    If the queue is away for a moment, the poll is repeated: accepted work is not lost.
    """
    deadline = time.monotonic() + wait_s
    pause_s = _FIRST_PAUSE_S
    while (left_s := deadline - time.monotonic()) > 0:
        await anyio.sleep(min(pause_s, left_s))
        with suppress(*QUEUE_AWAY):
            if done(found := await to_thread.run_sync(look)):
                return found
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
    return None
