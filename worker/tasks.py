"""What RQ calls, in a work-horse forked for one job. No torch: the engine has it.

A failure that would come again is stored as a result. Anything else is raised, and RQ tries
again; the next try goes on from the stored vote counts.
"""

from rq import get_current_job

from worker.engine.client import EngineAway, EngineLost
from worker.jobs.certify import run_certification
from worker.jobs.queue import ROOM_S
from worker.jobs.retries import is_suspect
from worker.jobs.sharing.counter import name_host
from worker.jobs.sharing.help import help_certification
from worker.learning.task import learn
from worker.processes.hand_back import HandedBack
from worker.settings import WorkerSettings
from worker.store.jobs import progress

__all__ = ["certify_image", "count_ranges", "learn"]


def certify_image(certification_id: str) -> None:
    """Certifies the image of a stored job and stores the result, once."""
    rq_job = get_current_job()
    assert rq_job is not None, "RQ runs this"
    assert rq_job.timeout is not None, "enqueued with it"
    try:
        run_certification(
            rq_job.connection,
            WorkerSettings(),
            certification_id,
            allowance_s=rq_job.timeout - ROOM_S,
            alone=is_suspect(rq_job.connection, certification_id),
        )
    except EngineAway as away:
        raise HandedBack from away  # not this job's failure, and no attempt of it
    except EngineLost:
        progress.note_lost_engine(rq_job.connection, certification_id)
        raise


def count_ranges(certification_id: str, run: str) -> None:
    """Counts ranges for a certification that another host runs, until none is open."""
    rq_job = get_current_job()
    assert rq_job is not None, "RQ runs this"
    settings = WorkerSettings()
    host = name_host(settings.socket_path)
    help_certification(rq_job.connection, settings, certification_id, run, host=host)
