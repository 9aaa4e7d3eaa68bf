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
_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = 0.02, 0.5
T = TypeVar("T")


def parse_wait(prefer: Sequence[str], *, cap_s: int) -> int | None:
    """The seconds to wait, at most `cap_s`; None if the header asks for no valid wait."""
    preferences = (part for header in prefer for part in header.split(","))
    matches = (_WAIT.fullmatch(part) for part in preferences)
    asked = next((int(found[1]) for found in matches if found), None)
    return None if asked is None else min(asked, cap_s)


def choose_pause_s(waited_s: float) -> float:
    """The pause after so long a wait: a tenth of it, in bounds, so that no answer is much later."""
    return min(max(_SHORTEST_PAUSE_S, waited_s / 10), _LONGEST_PAUSE_S)


async def wait_until(look: Callable[[], T | None], wait_s: float) -> T | None:
    """Polls in a thread until `look` finds something. Returns None if time runs out.

    If the queue is away for a moment, the poll is repeated: accepted work is not lost.
    """
    began = time.monotonic()
    while (waited_s := time.monotonic() - began) < wait_s:
        await anyio.sleep(min(choose_pause_s(waited_s), wait_s - waited_s))
        with suppress(*QUEUE_AWAY):
            if (found := await to_thread.run_sync(look)) is not None:
                return found
    return None
