"""One run of a certification: votes from the engine, records into Redis, and the certificate."""

import fcntl
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial

from redis import Redis
from redis.client import Pipeline

from worker.contract import CertificationJob, Failure, Identity
from worker.contract.certificate.document import (
    CancelledResult,
    CertificationResult,
    FailedResult,
    FinishedResult,
)
from worker.contract.certificate.signature import sign
from worker.contract.request import request_sha256
from worker.counting.certify import certify
from worker.counting.live_votes import create_live
from worker.counting.prefixes import Board
from worker.counting.range_merge import Doubt
from worker.counting.sessions import PromptMissing
from worker.engine.client import EngineClient, EngineRefused
from worker.jobs.cancel import Cancelled, require_wanted
from worker.jobs.purge import list_streams
from worker.jobs.queue import UNREADABLE, give_up
from worker.jobs.sharing.help import get_doubts, share
from worker.jobs.tuned_prompts import TunedStore
from worker.processes.hand_back import HandedBack, heed, interruptible
from worker.sampling.keys import commitment, load_secret
from worker.settings import WorkerSettings
from worker.store import hosts, images, keyspace, prompts
from worker.store.connection import when_there_is_room
from worker.store.jobs import certificates, progress, records, results
from worker.store.jobs.damaged import RecordDamaged
from worker.store.jobs.fence import Fence, begin_run
from worker.store.votes import put_votes, renew_votes

log = logging.getLogger(__name__)


class JobTooSlow(TimeoutError):
    """It counted three times as long as its samples should take. The next try goes on from here."""


def run_certification(
    redis: Redis,
    settings: WorkerSettings,
    certification_id: str,
    *,
    allowance_s: float = float("inf"),
    alone: bool = False,
) -> None:
    """`certify_image` with its surroundings as arguments.

    Args:
        redis, settings: the surroundings.
        certification_id: names the stored job.
        allowance_s: seconds it may count; waiting for the engine is not counting.
        alone: engines ended under it before, so one such job at a time uses this host's engine:
            one that ends engines takes no other with it again and again.

    Raises:
        worker.store.jobs.fence.Superseded: another run of this job has begun.
        HandedBack: the host is draining.
        JobTooSlow: the allowance is spent.
    """
    try:
        job = records.find_job(redis, certification_id)
    except RecordDamaged:
        give_up(redis, certification_id, UNREADABLE, ttl_s=settings.certificate_ttl_s)
        return
    if job is None or results.has_result(redis, certification_id):
        return  # expired or purged meanwhile, or a second delivery of a finished job
    started = time.monotonic()
    run = _Run(redis, settings, job, allowance_s=allowance_s)
    try:
        with _turn(settings, alone=alone):
            result: CertificationResult = _find_or_certify(run)
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
    images.let_go(redis, job.request.input.sha256, ttl_s=settings.image_ttl_s)
    fields = {
        "certification_id": job.id,
        "request_id": job.request_id,
        "status": result.status,
        "seconds": round(time.monotonic() - started, 3),
        "since_submission_s": round((datetime.now(UTC) - job.submitted_at).total_seconds(), 3),
    }
    log.info("certification_ended", extra={"fields": fields})


@contextmanager
def _turn(settings: WorkerSettings, *, alone: bool) -> Iterator[None]:
    """The turn of a job under which engines ended; others do not wait for one."""
    if not alone:
        yield
        return
    with settings.socket_path.with_suffix(".turn").open("w") as file:
        with interruptible():
            fcntl.flock(file, fcntl.LOCK_EX)  # ends with the process, however that ends
        yield


class _Run:
    """One run of a job: its right to write, its time, and the votes it has stored."""

    def __init__(
        self, redis: Redis, settings: WorkerSettings, job: CertificationJob, *, allowance_s: float
    ) -> None:
        self.redis, self.settings, self.job = redis, settings, job
        self.fence: Fence = begin_run(redis, job.id, ttl_s=settings.certificate_ttl_s)
        self._allowance_s = allowance_s
        self._counting_since: float | None = None

    def require_time(self) -> None:
        """JobTooSlow when the allowance is spent, from the first counted range on."""
        now = time.monotonic()
        self._counting_since = self._counting_since or now
        if now - self._counting_since > self._allowance_s:
            raise JobTooSlow(f"the job counted for more than {self._allowance_s:g} s")


def _find_or_certify(run: _Run) -> FinishedResult:
    """The stored result of the same canonical request, else a new one, which is then stored.

    Raises:
        worker.sampling.keys.SecretUnusable, worker.store.hosts.OtherSecret: certificates would be
            bound to another secret than the one published.
    """
    redis, settings, job = run.redis, run.settings, run.job
    secret = load_secret(settings.secret_path)
    hosts.require_commitment(redis, commitment(secret))
    sha256 = request_sha256(job.request, commitment(secret))
    ttl_s = settings.certificate_ttl_s
    records.hold(redis, keyspace.votes_holders(sha256), keyspace.job(job.id), ttl_s=ttl_s)
    result = certificates.find_certificate(redis, sha256)
    if result is None:
        doubts = get_doubts(redis, sha256)
        made, known = _certify(run, secret, sha256, doubts)
        run.fence.require(redis)
        keep = partial(certificates.keep_certificate, redis, sha256, made, doubts=known)
        result = when_there_is_room(partial(keep, ttl_s=ttl_s))
    else:
        _renew(redis, job, sha256, ttl_s=ttl_s)
    return sign(result.model_copy(update={"input": job.request.input}), secret)


def _renew(redis: Redis, job: CertificationJob, sha256: str, *, ttl_s: int) -> None:
    """A certificate that is answered again keeps all that it names as long as the answer."""
    request = job.request
    redis.expire(keyspace.certificate(sha256), ttl_s)
    TunedStore(redis, request, sha256, ttl_s, owner=job.owner).renew()
    renew_votes(redis, sha256, list_streams(request), ttl_s=ttl_s)


def _certify(
    run: _Run, secret: bytes, sha256: str, doubts: frozenset[Doubt]
) -> tuple[FinishedResult, int]:
    """The result, and how many doubted samples it knows to be ambiguous."""
    redis, settings, job = run.redis, run.settings, run.job
    described = job.request.input
    image = images.get_image(
        redis, described.sha256, height=described.height, width=described.width
    )
    with (
        EngineClient.connect(settings.socket_path, wait_s=settings.engine_wait_s) as engine,
        share(engine, redis, settings, job, sha256, doubts) as (counter, known),
        _Recorder(run, sha256) as recorder,
    ):
        made = certify(
            job.request,
            image,
            counter=counter,
            secret=secret,
            count_attempt=lambda: certificates.count_attempt(redis, job.request, sha256),
            find_prompt=lambda wanted: prompts.find_prompt(redis, wanted),
            keep_tuned=TunedStore(
                redis, job.request, sha256, settings.certificate_ttl_s, owner=job.owner
            ),
            checkpoints=progress.get_checkpoints(redis, job.id),
            doubts=len(doubts),
            on_votes=recorder,
        )
        return made, len(known)


class _Recorder:
    """Stores votes, their counts and progress: at most once an interval, at the end, and when the
    job is handed back.

    Looks after every range whether the certification is still wanted; `Cancelled` when it is not.
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
        """What `certify` calls after every counted range."""
        self._fresh = board, identity
        require_wanted(self._run.redis, self._run.job.id)
        heed()
        self._run.require_time()
        if board.complete or time.monotonic() >= self._due:
            self._due = time.monotonic() + self._run.settings.checkpoint_interval_s
            self._store(board, identity)

    def _store(self, board: Board, identity: Identity) -> None:
        """In one transaction: counts never without votes, and neither by a zombie."""
        run, job = self._run, self._run.job
        fresh = tuple(board.drain_votes())

        def fill(pipeline: Pipeline) -> None:
            progress.put_progress(
                pipeline,
                job.id,
                board.samples_done,
                job.request.samples_total,
                create_live(job.request, board),
            )
            for votes in fresh:
                put_votes(pipeline, self._sha256, votes, ttl_s=run.settings.certificate_ttl_s)
            progress.put_checkpoints(
                pipeline, job.id, board.checkpoints(identity), ttl_s=run.settings.image_ttl_s
            )

        when_there_is_room(partial(run.fence.write, run.redis, fill))
        self._fresh = None
