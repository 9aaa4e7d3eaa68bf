"""Runs evaluations while the app runs, the oldest first, and writes their results.

A run's file is locked by the process that works on it. So of several app processes on one folder
one takes each evaluation, and when that one is killed, another takes it up.
"""

import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import anyio
from anyio import Event, to_thread
from anyio.abc import TaskGroup

from app.server.answers.problems import Problem
from app.server.jobs.evaluations.record import (
    EndedEvaluation,
    EvaluationFolder,
    StoredEvaluation,
    list_open,
)
from app.server.jobs.evaluations.sitting import (
    PASSING,
    EvaluationEnded,
    EvaluationFailed,
    EvaluationWaits,
    Sitting,
)
from app.server.jobs.services import Services
from models.log import get_logger
from worker.contract import Failure
from worker.evaluation.noiseless import Noiseless
from worker.evaluation.results import create_results
from worker.evaluation.run_file import RunBusy, RunFile, RunNotContinued
from worker.evaluation.written import write_results

log = get_logger(__name__)
_LOOK_S = 1.0
_SHORTEST_S, _LONGEST_S = 10.0, 300.0  # between two sittings of an evaluation that waits


@dataclass(frozen=True, kw_only=True)
class _Wait:
    """When an evaluation that could not go on is taken up again. Opening a long run is work."""

    pause_s: float = _SHORTEST_S / 2
    until: float = -math.inf

    def again(self) -> "_Wait":
        """One that is twice as long, from now."""
        pause_s = min(2 * self.pause_s, _LONGEST_S)
        return _Wait(pause_s=pause_s, until=time.monotonic() + pause_s)


class EvaluationDriver:
    """Works on what is neither finished nor ended otherwise.

    Args:
        services: of the app.
        root: the folder of evaluations.
    """

    def __init__(self, services: Services, root: Path) -> None:
        self._services, self._root = services, root
        self._under_way: set[str] = set()
        self._waits: dict[str, _Wait] = {}

    async def keep_evaluating(self) -> None:
        """Runs while the app does."""
        async with anyio.create_task_group() as group:
            while True:
                with suppress(OSError):
                    await self._look(group)
                await anyio.sleep(_LOOK_S)

    async def _look(self, group: TaskGroup) -> None:
        """Takes up the oldest that nobody works on, as many as run at a time."""
        most, now = self._services.settings.evaluations_at_a_time, time.monotonic()
        if len(self._under_way) >= most:
            return
        without = self._under_way | {id_ for id_, wait in self._waits.items() if now < wait.until}
        for folder, asked in await to_thread.run_sync(list_open, self._root, without):
            if len(self._under_way) >= most:
                return
            taken = anyio.Event()
            group.start_soon(self._run, folder, asked, taken)
            await taken.wait()

    async def _run(self, folder: EvaluationFolder, asked: StoredEvaluation, taken: Event) -> None:
        """Sets `taken` once it is known whether this process holds the run."""
        try:
            async with _hold(folder) as run:
                self._under_way.add(asked.id)
                taken.set()
                await self._finish(folder, asked, run)
        except (RunBusy, EvaluationEnded):
            pass  # another process works on it, or nobody needs to
        except (EvaluationWaits, *PASSING) as error:
            self._waits[asked.id] = wait = self._waits.get(asked.id, _Wait()).again()
            name = type(error).__name__
            log.info("evaluation_waits", evaluation=asked.id, error=name, seconds=wait.pause_s)
        except EvaluationFailed as error:
            await self._end(folder, Failure(code=error.code, detail=error.detail))
        except Problem as error:
            await self._end(folder, Failure(code=error.code, detail=str(error.detail)))
        except (RunNotContinued, ValueError) as error:
            await self._end(folder, Failure(code="evaluation_failed", detail=str(error)))
        except Exception as error:  # ends this evaluation, and no other
            log.error("evaluation_fault", evaluation=asked.id, error=type(error).__name__)
            failure = Failure(code="internal", detail="The service failed at this evaluation.")
            await self._end(folder, failure)
        finally:
            self._under_way.discard(asked.id)
            taken.set()

    async def _finish(
        self, folder: EvaluationFolder, asked: StoredEvaluation, run: RunFile
    ) -> None:
        if (stored := run.question) is not None:
            run.begin(asked.create_question(stored.identity, stored.key_commitment))
        known = len(run.images)
        try:
            await Sitting(self._services, folder, asked, run).finish()
        finally:
            if len(run.images) > known:
                self._waits.pop(asked.id, None)
        await to_thread.run_sync(_write, folder, asked, run)
        ended = EndedEvaluation(status="finished", ended_at=datetime.now(UTC))
        if await to_thread.run_sync(folder.end, ended):
            log.info("evaluation_finished", evaluation=asked.id, images=len(run.images))

    async def _end(self, folder: EvaluationFolder, failure: Failure) -> None:
        log.warning("evaluation_failed", evaluation=folder.path.name, code=failure.code)
        ended = EndedEvaluation(status="failed", ended_at=datetime.now(UTC), failure=failure)
        with suppress(OSError):
            await to_thread.run_sync(folder.end, ended)


@asynccontextmanager
async def _hold(folder: EvaluationFolder) -> AsyncIterator[RunFile]:
    """The file of a run, which no other process works on meanwhile."""
    run = await to_thread.run_sync(_open, folder)
    try:
        yield run
    finally:
        run.__exit__(None, None, None)


def _open(folder: EvaluationFolder) -> RunFile:
    if folder.has_ended or not folder.is_stored:
        raise EvaluationEnded
    run = RunFile(folder.run_file).__enter__()
    if folder.has_ended or not folder.is_stored:
        run.__exit__(None, None, None)
        if not folder.is_stored:  # purged just now: the file was made again
            folder.remove()
        raise EvaluationEnded
    return run


def _write(folder: EvaluationFolder, asked: StoredEvaluation, run: RunFile) -> None:
    """Writes the results as `promptsmooth evaluate` does; nothing is measured without noise."""
    skipped = list(run.skipped.values())
    if run.question is None:
        raise ValueError(f"None of the images can be used. {skipped[0].why_not}")
    results = create_results(
        run.question,
        run.images.in_order(),
        radii=asked.radii,
        noiseless=[Noiseless()] * len(run.question.rows),
        skipped=skipped,
    )
    write_results(results, folder.path, written=datetime.now(UTC).date())
