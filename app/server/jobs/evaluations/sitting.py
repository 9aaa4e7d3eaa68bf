"""Certifies the images of an evaluation: queues them as others do, and writes down what comes.

The id of an image's certification follows from the evaluation's and the image's place. So after a
kill, whatever was killed, what is queued or certified is found again and nothing is queued twice.
"""

import hashlib
import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial

import anyio
from anyio import to_thread
from redis.exceptions import RedisError

from app.server.access.caller import Caller
from app.server.answers import problems
from app.server.audit_log.trail import acting_for
from app.server.jobs.capacity.model_hosts import can_serve, require_card, require_host
from app.server.jobs.evaluations.certifications import (
    TRIES,
    cancel_certifications,
    create_certification_id,
    purge_certifications,
)
from app.server.jobs.evaluations.datasets import FileGone, read_file
from app.server.jobs.evaluations.record import EvaluationFolder, StoredEvaluation
from app.server.jobs.services import Services
from app.server.jobs.submit import enqueue
from models.catalogue.cards import ModelCard
from models.imaging import DecodingUnavailable, ImageError
from models.log import get_logger
from worker.contract import CertificationJob, InputImage
from worker.contract.certificate.document import FailedResult, FinishedResult
from worker.contract.image import Image
from worker.evaluation.answered import count_samples, describe_f
from worker.evaluation.run_file import EvaluatedImage, Line, RunFile, SkippedImage
from worker.jobs.state import get_states
from worker.prepare import prepare_image
from worker.store import hosts, keyspace
from worker.store.jobs import results

log = get_logger(__name__)
_PAUSE_S, _BUSY_S, _HOSTS_S = 0.5, 2.0, 5.0
_FEWEST = 8  # under way while no host is ready
_WAITING = 2  # for each that the hosts run at a time
_BUSY = (
    RedisError,
    DecodingUnavailable,
    problems.QueueFull,
    problems.ModelUnavailable,
    problems.QuotaExceeded,
    problems.AuditLogUnavailable,
)
"""Troubles that pass. While images are under way the sitting goes on; otherwise it ends."""
PASSING = (OSError, RedisError)
"""What ends a sitting and not its evaluation, as a full disk or a folder that is not mounted."""


class EvaluationEnded(Exception):
    """The evaluation was cancelled or purged while it ran."""


class EvaluationWaits(Exception):
    """Nothing is under way and nothing can be queued now: another evaluation may go first."""


class EvaluationFailed(Exception):
    """The evaluation cannot go on; `code` is stable."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code, self.detail = code, detail


class Sitting:
    """One sitting of an evaluation in one app process, which holds its run's file.

    Args:
        services: of the app.
        folder: of the evaluation.
        asked: what the evaluation was asked.
        run: its file, open.
    """

    def __init__(
        self, services: Services, folder: EvaluationFolder, asked: StoredEvaluation, run: RunFile
    ) -> None:
        self._services, self._folder, self._asked, self._run = services, folder, asked, run
        known = {*run.images, *run.skipped}
        self._missing = [place for place in range(len(asked.files)) if place not in known]
        self._flying: dict[int, float] = {}
        self._tries: Counter[int] = Counter()
        self._most, self._looked = _FEWEST, -math.inf
        self._number, self._began = run.sitting, time.monotonic()
        self._owner = Caller(asked.owner, frozenset(), asked.quotas)

    async def finish(self) -> None:
        """Has every image certified that is missing. What is under way goes on if it waits.

        Raises:
            EvaluationEnded: somebody ended it.
            EvaluationWaits: its key's quota, its model or the queue lets nothing of it run now.
            EvaluationFailed: the dataset or the model is not what it was, its key was revoked, or
                an image's certification fails again and again.
        """
        try:
            while self._missing or self._flying:
                await self._advance()
        except (EvaluationWaits, *PASSING):
            raise
        except Exception:
            await to_thread.run_sync(self._drop)
            raise

    async def _advance(self) -> None:
        await to_thread.run_sync(self._require_wanted)
        free = [await self._try(step) for step in (self._fill, self._collect)]
        if not (all(free) or self._flying):
            raise EvaluationWaits
        await anyio.sleep(_PAUSE_S if all(free) else _BUSY_S)

    async def _try(self, step: Callable[[], Awaitable[None]]) -> bool:
        try:
            await step()
        except _BUSY as error:
            log.info("evaluation_waits", evaluation=self._asked.id, error=type(error).__name__)
            return False
        return True

    def _require_wanted(self) -> None:
        if self._folder.has_ended or not self._folder.is_stored:
            raise EvaluationEnded
        keyring = self._services.keyring
        keyring.refresh()
        if keyring.is_revoked(self._asked.owner):
            raise EvaluationFailed("key_revoked", "The key that started it is not valid any more.")

    def _drop(self) -> None:
        """Ends what is under way: what was queued when a DELETE had looked already, too."""
        names = [self._name(place) for place in self._flying]
        away = cancel_certifications if self._folder.is_stored else purge_certifications
        away(self._services, names)

    def _name(self, place: int) -> str:
        return create_certification_id(self._asked.id, place, self._tries[place])

    async def _fill(self) -> None:
        card = require_card(self._services.catalogue, self._asked.model.id)
        if card.sha256 != self._asked.model.sha256:
            raise EvaluationFailed(
                "model_changed", "The model was replaced after the evaluation was started."
            )
        if time.monotonic() - self._looked > _HOSTS_S:
            self._most = await to_thread.run_sync(self._find_window, card)
            self._looked = time.monotonic()
        while self._missing and len(self._flying) < self._most:
            place = self._missing[0]
            await self._submit(place, card)
            self._missing.pop(0)
            await to_thread.run_sync(self._require_wanted)

    def _find_window(self, card: ModelCard) -> int:
        """Twice as many as the hosts run at a time, so that a host that joins finds work."""
        reports = hosts.list_workers(self._services.redis)
        able = sum(report.rq_workers for report in reports if can_serve(report, card))
        return max(_FEWEST, _WAITING * able)

    async def _submit(self, place: int, card: ModelCard) -> None:
        """Queues an image, unless it is queued from before a kill, or cannot be decoded."""
        redis, name = self._services.redis, self._name(place)
        if not await to_thread.run_sync(redis.exists, keyspace.job(name)):
            await to_thread.run_sync(require_host, redis, card)
            if await to_thread.run_sync(self._services.queue_limit.is_full, redis, "batch"):
                raise problems.QueueFull
            try:
                prepared = await self._prepare(place, card)
            except ImageError as error:
                await self._append(self._skip(place, error))
                return
            await to_thread.run_sync(self._enqueue, name, *prepared)
        self._flying[place] = time.monotonic()

    async def _prepare(self, place: int, card: ModelCard) -> tuple[Image, InputImage]:
        content, services = await to_thread.run_sync(self._read, place), self._services
        decode = partial(prepare_image, content, card, decoder=services.decoder)
        return await to_thread.run_sync(decode, limiter=services.decoding)

    def _read(self, place: int) -> bytes:
        """The file of an image, if it is the one that was chosen."""
        asked, file = self._asked, self._asked.files[place]
        try:
            content = read_file(self._services.settings, asked.dataset, asked.split, file.name)
        except FileGone:
            detail = f"Image {place} of the dataset {asked.dataset} is not there any more."
            raise EvaluationFailed("dataset_changed", detail) from None
        if hashlib.sha256(content).hexdigest() != file.sha256:
            detail = f"Image {place} of the dataset {asked.dataset} was replaced after the start."
            raise EvaluationFailed("dataset_changed", detail)
        return content

    def _skip(self, place: int, error: ImageError) -> SkippedImage:
        file = self._asked.files[place]
        return SkippedImage(
            place=place,
            file=file.name,
            class_index=file.class_index,
            code=error.code,
            why_not=str(error),
        )

    def _enqueue(self, name: str, image: Image, described: InputImage) -> None:
        job = CertificationJob(
            id=name,
            owner=self._asked.owner,
            priority="batch",
            submitted_at=datetime.now(UTC),
            request_id=self._asked.request_id,
            request=self._asked.create_request(described),
        )
        with acting_for(self._owner, job.request_id, evaluation_id=self._asked.id):
            enqueue(self._services, self._owner, [(job, image)])

    async def _collect(self) -> None:
        """Writes down the images that have ended, in one look at Redis for all under way."""
        places = list(self._flying)
        names = [self._name(place) for place in places]
        states = await to_thread.run_sync(get_states, self._services.redis, names)
        for place, state in zip(places, states, strict=True):
            if state not in ("queued", "running"):
                await self._take(place)

    async def _take(self, place: int) -> None:
        name, began = self._name(place), self._flying[place]
        (result,) = await to_thread.run_sync(results.find_results, self._services.redis, [name])
        del self._flying[place]
        if isinstance(result, FinishedResult):
            await self._append(self._describe(place, name, result, began))
            return
        self._tries[place] += 1
        if self._tries[place] >= TRIES:
            failed = result.failure.detail if isinstance(result, FailedResult) else ""
            detail = f"Image {place} was not certified in {TRIES} attempts. {failed}".strip()
            raise EvaluationFailed("certification_failed", detail)
        self._missing.insert(0, place)

    def _describe(
        self, place: int, name: str, result: FinishedResult, began: float
    ) -> EvaluatedImage:
        file, now = self._asked.files[place], time.monotonic()
        return EvaluatedImage(
            place=place,
            file=file.name,
            class_index=file.class_index,
            samples=count_samples(result),
            seconds=round(now - began, 3),
            sitting=self._number,
            elapsed_s=round(now - self._began, 3),
            result=result,
            certification=name,
        )

    async def _append(self, line: Line) -> None:
        await to_thread.run_sync(self._write, line)

    def _write(self, line: Line) -> None:
        if isinstance(line, EvaluatedImage):
            self._require_same(line.result)
        self._run.append(line)

    def _require_same(self, result: FinishedResult) -> None:
        """Writes the header with the first image; later ones must be of the same key secret."""
        said = result.provenance.key_commitment
        if self._run.question is None:
            identity = describe_f(result, self._asked.architecture)
            self._run.begin(self._asked.create_question(identity, said))
        elif self._run.question.key_commitment != said:
            raise EvaluationFailed(
                "secret_changed",
                "The service's key secret was replaced after the evaluation was started.",
            )
