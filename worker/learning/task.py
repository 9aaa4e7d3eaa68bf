"""The RQ task that learns a prompt. Its work-horse has no torch and starts a learner.

As for certifications, a failure that a retry would repeat is stored as a result. Any other error is
raised and RQ retries; the next attempt continues from the last epoch.
"""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import numpy as np
from redis import Redis
from redis.exceptions import RedisError
from rq import get_current_job

from models.log import get_logger
from worker.contract import Failure
from worker.contract.learning import CancelledLearning, FailedLearning, LearningJob, LearningResult
from worker.learning import protocol, store
from worker.processes.parent import with_parent
from worker.processes.start import read_settings
from worker.settings import WorkerSettings
from worker.store import images, prompts

log = get_logger(__name__)

_LEARNER = (sys.executable, "-m", "worker.learning.process")
_LOOK_S = 0.5
_ID_TAKEN = Failure(
    code="prompt_id_taken",
    detail="Another prompt took the id while this one was learned. Choose another id.",
)


class LearnerDied(RuntimeError):
    """The learner ended without a reason. RQ retries."""


def learn(learning_id: str) -> None:
    """Learns the prompt of a stored job and stores the result, once."""
    rq_job = get_current_job()
    assert rq_job is not None, "RQ runs this"
    run_learning(rq_job.connection, read_settings(), learning_id)


def run_learning(redis: Redis, settings: WorkerSettings, learning_id: str) -> None:
    """`learn` with Redis and the settings as arguments."""
    job = store.find_job(redis, learning_id)
    if job is None or store.find_result(redis, learning_id) is not None:
        return  # expired, cancelled, or delivered again after it ended
    started = time.monotonic()
    try:
        result = _learn(redis, settings, job)
    except (images.ImageExpired, images.ImageDamaged) as error:
        result = FailedLearning(failure=Failure(code="image_expired", detail=str(error)))
    store.put_result(redis, job.id, result, ttl_s=settings.certificate_ttl_s)
    log.info(
        "learning_ended",
        learning_id=job.id,
        status=result.status,
        seconds=round(time.monotonic() - started, 3),
    )


def _learn(redis: Redis, settings: WorkerSettings, job: LearningJob) -> LearningResult:
    order = protocol.LearningOrder(
        request=job.request,
        pixels=_get_pixels(redis, job),
        resume=store.find_checkpoint(redis, job.id),
    )
    with _run_learner(redis, job.id, order) as reports:
        for report in reports:
            match report:
                case protocol.EpochReport(epoch=epoch):
                    checkpoint, ttl_s = report.decode_checkpoint(), settings.certificate_ttl_s
                    store.put_epoch(redis, job.id, epoch, checkpoint, ttl_s=ttl_s)
                case protocol.AnewReport(reason=reason):
                    log.warning("learning_anew", reason=reason)
                    store.drop_checkpoint(redis, job.id)
                case protocol.LearnedReport():
                    return _keep_prompt(redis, settings, job, report)
                case protocol.FailureReport(failure=failure):
                    return FailedLearning(failure=failure)
    if store.find_result(redis, job.id) is None:
        raise LearnerDied("the learner ended without a prompt")
    return CancelledLearning()


def _get_pixels(redis: Redis, job: LearningJob) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    size = job.request.size
    return np.stack(
        [
            images.get_image(redis, image.sha256, height=size, width=size)
            for image in job.request.images
        ]
    )


@contextmanager
def _run_learner(
    redis: Redis, learning_id: str, order: protocol.LearningOrder
) -> Iterator[Iterator[protocol.Report]]:
    """The reports of a new learner. It ends when a result appears, and with this process."""
    command = with_parent(_LEARNER)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:  # noqa: S603
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            with _ended_by_a_result(redis, learning_id, process):
                with suppress(BrokenPipeError):  # the learner died, so its reports end early
                    protocol.write_order(process.stdin, order)
                yield map(protocol.parse_report, process.stdout)
        finally:
            process.kill()
            with suppress(BrokenPipeError):
                process.stdin.close()


@contextmanager
def _ended_by_a_result(
    redis: Redis, learning_id: str, process: "subprocess.Popen[bytes]"
) -> Iterator[None]:
    """Kills the process if the learning gets a result, which means that it was cancelled."""
    done = threading.Event()

    def watch() -> None:
        while not done.wait(_LOOK_S):
            with suppress(RedisError):
                if store.find_result(redis, learning_id) is not None:
                    process.kill()
                    return

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _keep_prompt(
    redis: Redis, settings: WorkerSettings, job: LearningJob, report: protocol.LearnedReport
) -> LearningResult:
    """Stores the prompt for all workers, unless the learning was cancelled."""
    card, prompt, ttl_s = report.card, report.prompt, settings.certificate_ttl_s
    try:
        store.finish_learning(redis, job.id, card, prompt, ttl_s=ttl_s, owner=job.prompt_owner)
    except prompts.PromptRefused:
        return FailedLearning(failure=_ID_TAKEN)  # reveals nothing of the other prompt's owner
    stands = store.find_result(redis, job.id)
    assert stands is not None, "finish_learning leaves a result"
    return stands
