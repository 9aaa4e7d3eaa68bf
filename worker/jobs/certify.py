"""One run of a certification: votes from the engine, records into Redis, and the certificate."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

from redis import Redis
from redis.client import Pipeline

from models.log import get_logger
from worker.contract import CertificationJob, Failure, Identity
from worker.contract.certificate.document import (
    CancelledResult,
    CertificationResult,
    FailedResult,
    FinishedResult,
    Provenance,
)
from worker.contract.certificate.signature import sign
from worker.counting.certify import certify
from worker.counting.live_votes import create_live
from worker.counting.prefixes import Board
from worker.counting.roll import Roll
from worker.counting.sessions import PromptMissing
from worker.engine.client import EngineClient, EngineRefused
from worker.jobs.cancel import Cancelled, require_wanted
from worker.jobs.purge import list_streams
from worker.jobs.queue import UNREADABLE, give_up
from worker.jobs.redis_records import RedisRecords
from worker.jobs.retries import take_turn
from worker.jobs.sharing.disagreements import Disagreements
from worker.jobs.sharing.help import share
from worker.jobs.tuned_prompts import TunedStore
from worker.jobs.witness import ask_for_witness
from worker.key_secret import load_secret
from worker.processes.hand_back import HandedBack, heed
from worker.settings import WorkerSettings
from worker.store import hosts, images, keyspace, prompts
from worker.store.connection import when_there_is_room
from worker.store.jobs import certificates, progress, results
from worker.store.jobs import records as job_records
from worker.store.jobs.damaged import RecordDamaged
from worker.store.jobs.fence import Fence, begin_run
from worker.store.votes import VotesOf, put_votes, renew_votes

log = get_logger(__name__)


class JobTooSlow(TimeoutError):
    """The job counted three times as long as it should. The next attempt continues from here."""


def run_certification(
    redis: Redis,
    settings: WorkerSettings,
    certification_id: str,
    *,
    allowance_s: float = float("inf"),
    alone: bool = False,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """`certify_image` with Redis and the settings as arguments.

    Args:
        redis: the Redis that holds the job.
        settings: the settings of this host.
        certification_id: the id of the stored job.
        allowance_s: the seconds for which the job may count. Waiting for the engine is free.
        alone: True for a job during which engines ended. Only one such job at a time uses this
            host's engine, so that they do not keep taking one another down.
        clock: tells the seconds of the allowance.

    Raises:
        worker.store.jobs.fence.Superseded: a later run of this job has begun.
        HandedBack: the host is draining.
        JobTooSlow: the allowance is spent.
    """
    try:
        job = job_records.find_job(redis, certification_id)
    except RecordDamaged:
        give_up(redis, certification_id, UNREADABLE, ttl_s=settings.certificate_ttl_s)
        return
    if job is None:
        return  # expired or purged meanwhile
    if results.has_result(redis, certification_id):
        _ask_for_wanted_witness(redis, settings, job)
        return  # a second delivery of a job that ended
    started = time.monotonic()
    begin = partial(_Run, redis, settings, job, allowance_s=allowance_s, clock=clock)
    run = when_there_is_room(begin)
    try:
        with take_turn(settings, alone=alone):
            # A write that Redis had no room for begins this again, from the stored counts.
            result: CertificationResult = when_there_is_room(partial(_find_or_certify, run))
    except EngineRefused as error:
        result = FailedResult(failure=error.failure)
    except (images.ImageExpired, images.ImageDamaged) as error:
        result = FailedResult(failure=Failure(code="image_expired", detail=str(error)))
    except (PromptMissing, prompts.PromptDamaged) as error:
        result = FailedResult(failure=Failure(code="prompt_missing", detail=str(error)))
    except Cancelled:
        result = CancelledResult()
    put = partial(results.put_result, redis, job.id, result, fence=run.fence)
    when_there_is_room(partial(put, ttl_s=settings.certificate_ttl_s))
    _ask_for_wanted_witness(redis, settings, job)
    images.let_go(redis, job.request.input.sha256, ttl_s=settings.image_ttl_s)
    log.info(
        "certification_ended",
        certification_id=job.id,
        request_id=job.request_id,
        status=result.status,
        seconds=round(time.monotonic() - started, 3),
        since_submission_s=round((datetime.now(UTC) - job.submitted_at).total_seconds(), 3),
    )


def _ask_for_wanted_witness(redis: Redis, settings: WorkerSettings, job: CertificationJob) -> None:
    """Queues the witness that a job asks for, once it has finished."""
    if job.witness and isinstance(results.find_result(redis, job.id), FinishedResult):
        ask = partial(ask_for_witness, redis, job.id, ttl_s=settings.certificate_ttl_s)
        when_there_is_room(ask)


class _Run:
    """One run of a job: its surroundings, its right to write and the time it has left."""

    def __init__(
        self,
        redis: Redis,
        settings: WorkerSettings,
        job: CertificationJob,
        *,
        allowance_s: float,
        clock: Callable[[], float],
    ) -> None:
        self.redis, self.settings, self.job = redis, settings, job
        self.fence: Fence = begin_run(redis, job.id, ttl_s=settings.certificate_ttl_s)
        self._allowance_s, self._clock = allowance_s, clock
        self._counting_since: float | None = None

    def require_time(self) -> None:
        """Raises JobTooSlow once the time since the first counted range exceeds the allowance."""
        now = self._clock()
        self._counting_since = self._counting_since or now
        if now - self._counting_since > self._allowance_s:
            raise JobTooSlow(f"the job counted for more than {self._allowance_s:g} s")


def _find_or_certify(run: _Run) -> FinishedResult:
    """The stored result of the same canonical request, or a new one, which is then stored.

    Raises:
        worker.key_secret.SecretUnusable: the key secret cannot be read.
        worker.store.hosts.OtherSecret: certificates would be bound to a secret other than the
            published one.
    """
    redis, settings, job = run.redis, run.settings, run.job
    roll = Roll(job.request, load_secret(settings.secret_path))
    hosts.require_commitment(redis, roll.commitment)
    sha256 = roll.sha256
    ttl_s = settings.certificate_ttl_s
    job_records.hold(redis, keyspace.votes_holders(sha256), keyspace.job(job.id), ttl_s=ttl_s)
    done = job.request.continuations
    result = certificates.find_certificate(redis, sha256, done)
    if result is None:
        disagreements = Disagreements(redis, job, sha256, ttl_s=ttl_s)
        made = _certify(run, roll, disagreements)
        run.fence.require(redis)
        known = len(disagreements.known)
        result = certificates.keep_certificate(
            redis, sha256, made, disagreements=known, continuations=done, ttl_s=ttl_s
        )
        if job.request.find_continued() is not None:  # which certifies the same tuned prompts
            TunedStore(redis, roll, ttl_s, owner=job.owner).renew()
    else:
        _renew(redis, job, roll, result.provenance, ttl_s=ttl_s)
    return sign(result.model_copy(update={"input": job.request.input}), roll.secret)


def _renew(
    redis: Redis, job: CertificationJob, roll: Roll, made: Provenance, *, ttl_s: int
) -> None:
    """Renews all that a stored certificate names, so that it lasts as long as the certificate."""
    redis.expire(certificates.name_certificate(roll.sha256, roll.request.continuations), ttl_s)
    TunedStore(redis, roll, ttl_s, owner=job.owner).renew()
    renew_votes(redis, VotesOf(roll.sha256, made), list_streams(job.request), ttl_s=ttl_s)


def _certify(run: _Run, roll: Roll, disagreements: Disagreements) -> FinishedResult:
    redis, settings, job = run.redis, run.settings, run.job
    image = images.get_input(redis, job.request.input)
    ttl_s = settings.certificate_ttl_s
    records = RedisRecords(redis, job, roll, disagreements=disagreements, ttl_s=ttl_s)
    with (
        EngineClient.connect(
            settings.socket_path,
            wait_s=settings.engine_wait_s,
            urgent=job.priority == "urgent",
        ) as engine,
        share(engine, redis, settings, job, disagreements) as counter,
        _Recorder(run, roll.sha256) as recorder,
    ):
        return certify(roll, image, counter=counter, records=records, on_votes=recorder)


class _Recorder:
    """Stores votes, counts and progress: once per interval, at the end and on a hand-back.

    After every range it checks whether the certification is still wanted, and raises `Cancelled` if
    it is not.
    """

    def __init__(self, run: _Run, sha256: str) -> None:
        self._run, self._sha256 = run, sha256
        self._due = time.monotonic()
        self._fresh: tuple[Board, Identity] | None = None

    def __enter__(self) -> "_Recorder":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is HandedBack and self._fresh is not None:
            self._store(*self._fresh)

    def __call__(self, board: Board, identity: Identity) -> None:
        """Records the board. `certify` calls this after every counted range."""
        self._fresh = board, identity
        require_wanted(self._run.redis, self._run.job.id)
        heed()
        self._run.require_time()
        if board.complete or time.monotonic() >= self._due:
            self._due = time.monotonic() + self._run.settings.checkpoint_interval_s
            self._store(board, identity)

    def _store(self, board: Board, identity: Identity) -> None:
        """Stores counts and votes in one transaction, which fails if a later run has begun."""
        run, job = self._run, self._run.job
        fresh = tuple(board.drain_votes())
        of = VotesOf(self._sha256, identity)

        def fill(pipeline: Pipeline) -> None:
            progress.put_progress(
                pipeline,
                job.id,
                board.samples_done,
                job.request.samples_total,
                create_live(job.request, board),
            )
            for votes in fresh:
                put_votes(pipeline, of, votes, ttl_s=run.settings.certificate_ttl_s)
            certificates.note_shown(pipeline, self._sha256, identity)
            checkpoints, ttl_s = board.checkpoints(identity), run.settings.certificate_ttl_s
            progress.put_checkpoints(pipeline, job.id, checkpoints, ttl_s=run.settings.image_ttl_s)
            if board.complete and job.request.find_continued() is not None:
                done = job.request.continuations
                progress.put_prefix(pipeline, self._sha256, done, checkpoints, ttl_s=ttl_s)

        when_there_is_room(partial(run.fence.write, run.redis, fill))
        self._fresh = None
