"""Keeps a process running: restarts it when it ends, and gives up if restarts do not help."""

import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from models.log import get_logger

log = get_logger(__name__)

CANNOT_START = 3  # a child's exit status: somebody must fix something before a restart can help
_FIRST_PAUSE_S, _MAX_PAUSE_S = 0.05, 10.0
_MAX_QUICK_DEATHS = 8


class GivenUp(Exception):
    """This host cannot serve. The message says why and what to do."""


@dataclass(kw_only=True)
class Child:
    """One process that is kept running.

    Once a process has run for `healthy_after_s` seconds, its next death counts as the first again.
    `hint` tells the log and the error what to look at. A child that `persists` is never given up,
    because its cause of death, such as a full disk, passes by itself.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] | None = None
    healthy_after_s: float = 60.0
    hint: Callable[[], str] = lambda: ""
    persists: bool = False
    on_death: Callable[[int], None] = lambda _pid: None
    process: "subprocess.Popen[bytes] | None" = None
    started: float = 0.0
    start_at: float = 0.0
    quick_deaths: int = 0
    restarts: int = -1

    def keep_running(self, now: float) -> None:
        """Starts the process if a start is due, and notes its death if it has ended.

        Raises:
            GivenUp: the process cannot start, or keeps dying.
        """
        if self.process is None:
            if now >= self.start_at:
                self._start(now)
        elif (code := self.process.poll()) is not None:
            self._note_death(code, now)

    def end(self, number: signal.Signals) -> None:
        """Asks the process to end. Only `keep_running` starts it again."""
        self.quick_deaths, self.start_at = 0, 0.0
        self.signal(number)

    def reap(self) -> bool:
        """Whether the process has ended. If so, it is forgotten without counting as a death."""
        if self.has_ended():
            self.process = None
            return True
        return False

    def _start(self, now: float) -> None:
        self.process = subprocess.Popen(self.command, env=self.environment, start_new_session=True)  # noqa: S603
        self.started, self.restarts = now, self.restarts + 1

    def _note_death(self, code: int, now: float) -> None:
        assert self.process is not None
        self.on_death(self.process.pid)
        self.process = None
        self.quick_deaths = (
            1 if now - self.started > self.healthy_after_s else self.quick_deaths + 1
        )
        fields: dict[str, object] = {
            "child": self.name,
            "exit_status": code,
            "quick_deaths": self.quick_deaths,
        }
        if hint := self.hint():
            fields["do"] = hint
        log.warning("child_ended", **fields)
        if code == CANNOT_START:
            raise GivenUp(f"the {self.name} cannot start; its last log line above says why")
        if self.quick_deaths > _MAX_QUICK_DEATHS and not self.persists:
            said = f"the {self.name} ended {self.quick_deaths} times in a row soon after its start"
            raise GivenUp(f"{said}; {hint}" if hint else said)
        self.start_at = now + min(_MAX_PAUSE_S, _FIRST_PAUSE_S * 2 ** (self.quick_deaths - 1))

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal. Does nothing if the process is gone."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                self.process.send_signal(number)

    def has_ended(self) -> bool:
        return self.process is None or self.process.poll() is not None


def wait_for_all(children: Sequence[Child], *, grace_s: float) -> None:
    """Waits up to `grace_s` for all of them to end."""
    deadline = time.monotonic() + grace_s
    while time.monotonic() < deadline and not all(child.has_ended() for child in children):
        time.sleep(0.05)


def end_all(children: Sequence[Child], *, grace_s: float) -> None:
    """Asks processes to end, waits up to `grace_s` for all of them, and kills the rest."""
    for child in children:
        child.signal(signal.SIGTERM)
    wait_for_all(children, grace_s=grace_s)
    for child in children:
        child.signal(signal.SIGKILL)
        if child.process is not None:
            child.process.wait()
