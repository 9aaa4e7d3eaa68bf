"""Runs a witness: the search on the engine, within its time, and what it found into Redis.

It never touches the certification, which has ended: its certificates stay as they are.
"""

import time
from collections.abc import Callable

from redis import Redis

from models.log import get_logger
from models.prompts.prompt import Prompt
from worker.attack.watched import create_limit
from worker.attack.witness import Found, find_witness, read_settings
from worker.contract import QUEUE_NAME, CertificationJob, Failure
from worker.contract.certificate.document import FinishedResult
from worker.counting.recorded import NotReproducible
from worker.counting.roll import Roll
from worker.engine.client import EngineClient, EngineRefused
from worker.jobs.cancel import Cancelled, require_wanted
from worker.jobs.retries import take_turn
from worker.jobs.witness import end, fail, has_ended, name_rq_job
from worker.key_secret import load_secret
from worker.processes.hand_back import heed
from worker.settings import WorkerSettings
from worker.store import images, prompts
from worker.store.jobs import accepted, records, results

log = get_logger(__name__)


def run_witness(
    redis: Redis,
    settings: WorkerSettings,
    certification_id: str,
    *,
    alone: bool = False,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Looks for the witness of a stored certification and stores it.

    Args:
        redis, settings: of the host.
        certification_id: the certification.
        alone: as for `run_certification`.
        clock: tells the seconds.

    Raises:
        worker.engine.client.EngineLost: a retry may help.
        HandedBack: the host is draining.
    """
    job = records.find_job(redis, certification_id)
    result = results.find_result(redis, certification_id)
    if job is None or not isinstance(result, FinishedResult):
        accepted.settle(redis, QUEUE_NAME, name_rq_job(certification_id))
        return  # expired or purged meanwhile
    if has_ended(redis, certification_id):
        return
    try:
        with take_turn(settings, alone=alone):
            found = _find(redis, settings, job, result, clock=clock)
    except Cancelled:  # purged while it ran
        accepted.settle(redis, QUEUE_NAME, name_rq_job(certification_id))
        return
    except EngineRefused as refused:
        fail(redis, job.id, refused.failure)
        return
    except (images.ImageExpired, images.ImageDamaged) as error:
        fail(redis, job.id, Failure(code="image_expired", detail=str(error)))
        return
    except NotReproducible as error:
        fail(redis, job.id, Failure(code="prompt_missing", detail=str(error)))
        return
    end(redis, job.id, found.witness, found.images)
    say = log.error if found.witness.alarm else log.info
    say(
        "witness_alarm" if found.witness.alarm else "witness_ended",
        certification_id=job.id,
        seconds=found.witness.seconds,
    )


def _find(
    redis: Redis,
    settings: WorkerSettings,
    job: CertificationJob,
    result: FinishedResult,
    *,
    clock: Callable[[], float],
) -> Found:
    image = images.get_input(redis, job.request.input)

    def find_prompt(sha256: str) -> Prompt | None:
        found = prompts.find_prompt(redis, sha256)
        return None if found is None else found.decode()

    with EngineClient.connect(settings.socket_path, wait_s=settings.engine_wait_s) as engine:
        require_time = create_limit(settings.witness_time_s, clock)  # waiting for it was free

        def go_on() -> None:
            require_wanted(redis, job.id)
            heed()
            require_time()

        return find_witness(
            result,
            image,
            Roll(job.request, load_secret(settings.secret_path)),
            prober=engine,
            find_prompt=find_prompt,
            settings=read_settings(settings),
            on_step=go_on,
            clock=clock,
        )
