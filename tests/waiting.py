"""The one way in which tests wait.

A deadline ends a hang, it measures nothing: the machine may be busy with the work of others. What a
test says about time, it says as an order of events.
"""

import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

HANG_S = 300
"""Nothing that goes on takes this long, on any machine."""

NEVER_S = 10 * HANG_S
"""How long something lasts that would outlast a test: a test that sees its end saw it ended."""

T = TypeVar("T")


def wait_until(
    look: Callable[[], T],
    *,
    within_s: float = HANG_S,
    pause_s: float = 0.02,
    progress: Callable[[], object] = lambda: None,
    say: Callable[[], object] = lambda: "",
) -> T:
    """What `look` finds, as soon as it finds something.

    Args:
        look: asked again and again, until its answer counts as true.
        within_s: how long nothing may happen.
        pause_s: between two looks.
        progress: a value that changes while something happens; each change begins the time anew.
        say: what explains that nothing happens, such as a log.

    Raises:
        AssertionError: nothing has happened for `within_s` seconds.
    """
    seen, since = progress(), time.monotonic()
    while not (found := look()):
        if (now := progress()) != seen:
            seen, since = now, time.monotonic()
        if time.monotonic() - since > within_s:
            raise AssertionError(f"nothing has happened for {within_s:g} s; last {seen}: {say()}")
        time.sleep(pause_s)
    return found


@contextmanager
def running(command: Sequence[str | Path], **how: Any) -> Iterator[subprocess.Popen[Any]]:
    """A program that the block ends itself; it is killed if the block fails, so nothing hangs."""
    with subprocess.Popen(command, **how) as process:
        try:
            yield process
        except BaseException:
            process.kill()
            raise
