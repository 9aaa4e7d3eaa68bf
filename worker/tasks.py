"""What RQ calls, in a work-horse forked for one job. No torch: the engine has it.

A failure that would come again is stored as a result. Anything else is raised, and RQ tries
again; the next try goes on from the stored vote counts.
"""

import logging
import time
from datetime import UTC, datetime

from redis import Redis
from rq import get_current_job

from worker import fleet, images_store, keyspace, prompts_store, results
from worker.ballots import PromptMissing
from worker.board import Board
from worker.cancelling import Cancelled, require_wanted
from worker.certifying import certify
from worker.contract import CertificationJob, Failure, Identity
from worker.document import CancelledResult, CertificationResult, FailedResult, FinishedResult
from worker.engine.client import EngineClient, EngineRefused
from worker.helping import help_certification, share
from worker.live import create_live
from worker.sampling.keys import commitment, load_secret
from worker.settings import WorkerSettings
from worker.sharing import name_host
from worker.signing import sign
from worker.tuned_store import TunedStore
from worker.votes_store import put_votes, renew_votes
from worker.votes_streams import list_streams

log = logging.getLogger(__name__)


def certify_image(certification_id: str) -> None:
    """Certifies the image of a stored job and stores the result, once."""
    rq_job = get_current_job()
    assert rq_job is not None, "RQ runs this"
    run_certification(rq_job.connection, WorkerSettings(), certification_id)


def count_ranges(certification_id: str, run: str) -> None:
    """Counts ranges for a certification that another host runs, until none is open."""
    rq_job = get_current_job()
    assert rq_job is not None, "RQ runs this"
    settings = WorkerSettings()
    host = name_host(settings.socket_path)
    help_certification(rq_job.connection, settings, certification_id, run, host=host)


def run_certification(redis: Redis, settings: WorkerSettings, certification_id: str) -> None:
    """`certify_image` with its surroundings as arguments."""
    job = results.find_job(redis, certification_id)
    if job is None or results.find_result(redis, certification_id) is not None:
        return  # expired or purged meanwhile, or a second delivery of a finished job
    started = time.monotonic()
    try:
        result: CertificationResult = _find_or_certify(redis, settings, job)
    except EngineRefused as error:
        result = FailedResult(failure=error.failure)
    except (images_store.ImageExpired, images_store.ImageDamaged) as error:
        result = FailedResult(failure=Failure(code="image_expired", detail=str(error)))
    except (PromptMissing, prompts_store.PromptDamaged) as error:
        result = FailedResult(failure=Failure(code="prompt_missing", detail=str(error)))
    except Cancelled:
        result = CancelledResult()
    results.put_result(redis, job.id, result, ttl_s=settings.certificate_ttl_s)
    fields = {
        "certification_id": job.id,
        "status": result.status,
        "seconds": round(time.monotonic() - started, 3),
        "since_submission_s": round((datetime.now(UTC) - job.submitted_at).total_seconds(), 3),
    }
    log.info("certification_ended", extra={"fields": fields})


def _find_or_certify(
    redis: Redis, settings: WorkerSettings, job: CertificationJob
) -> FinishedResult:
    """The stored result of the same canonical request, else a new one, which is then stored.

    Raises:
        worker.sampling.keys.SecretUnusable, worker.fleet.OtherSecret: certificates would be bound
            to another secret than the one published.
    """
    secret = load_secret(settings.secret_path)
    fleet.require_commitment(redis, commitment(secret))
    sha256 = results.request_sha256(job.request, commitment(secret))
    ttl_s = settings.certificate_ttl_s
    results.hold(redis, keyspace.votes_holders(sha256), keyspace.job(job.id), ttl_s=ttl_s)
    result = results.find_certificate(redis, sha256)
    if result is None:
        made = _certify(redis, settings, job, secret, sha256)
        result = results.keep_certificate(redis, sha256, made, ttl_s=ttl_s)
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
    redis: Redis, settings: WorkerSettings, job: CertificationJob, secret: bytes, sha256: str
) -> FinishedResult:
    described = job.request.input
    image = images_store.get_image(
        redis, described.sha256, height=described.height, width=described.width
    )
    with (
        EngineClient.connect(settings.socket_path, wait_s=settings.engine_wait_s) as engine,
        share(engine, redis, settings, job, sha256) as counter,
    ):
        return certify(
            job.request,
            image,
            counter=counter,
            secret=secret,
            count_attempt=lambda: results.count_attempt(redis, job.request, sha256),
            find_prompt=lambda wanted: prompts_store.find_prompt(redis, wanted),
            keep_tuned=TunedStore(
                redis, job.request, sha256, settings.certificate_ttl_s, owner=job.owner
            ),
            checkpoints=results.get_checkpoints(redis, job.id),
            on_votes=_Recorder(redis, settings, job, sha256),
        )


class _Recorder:
    """Stores votes, their counts and progress: at most once an interval, and at the end.

    Looks after every range whether the certification is still wanted; `Cancelled` when it is not.
    """

    def __init__(
        self, redis: Redis, settings: WorkerSettings, job: CertificationJob, sha256: str
    ) -> None:
        self._redis, self._settings, self._job, self._sha256 = redis, settings, job, sha256
        self._due = time.monotonic()

    def __call__(self, board: Board, identity: Identity) -> None:
        require_wanted(self._redis, self._job.id)
        if not board.complete and time.monotonic() < self._due:
            return
        self._due = time.monotonic() + self._settings.checkpoint_interval_s
        request = self._job.request
        results.put_progress(
            self._redis,
            self._job.id,
            board.samples_done,
            request.samples_total,
            create_live(request, board),
        )
        with self._redis.pipeline() as pipeline:  # one transaction: counts never without votes
            ttl_s = self._settings.certificate_ttl_s
            for votes in board.drain_votes():
                put_votes(pipeline, self._sha256, votes, ttl_s=ttl_s)
            results.put_checkpoints(
                pipeline,
                self._job.id,
                board.checkpoints(identity),
                ttl_s=self._settings.image_ttl_s,
            )
            pipeline.execute()
