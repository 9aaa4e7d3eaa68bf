"""The tasks that RQ calls, each in a work-horse forked for one job. Only the engine has torch.

A failure that a retry would repeat is stored as a result. Any other error is raised and RQ retries;
the next attempt continues from the stored vote counts.
"""

from rq import get_current_job

from worker.engine.client import EngineAway, EngineLost
from worker.jobs.certify import run_certification
from worker.jobs.find_witness import run_witness
from worker.jobs.queue import ROOM_S
from worker.jobs.retries import is_suspect
from worker.jobs.sharing.counter import name_host
from worker.jobs.sharing.help import help_certification
from worker.jobs.witness import find_certification_id
from worker.processes.hand_back import HandedBack
from worker.processes.start import read_settings
from worker.store.jobs import progress


def certify_image(certification_id: str) -> None:
    """Certifies the image of a stored job and stores the result, once."""
    rq_job = get_current_job()
    assert rq_job is not None, "RQ runs this"
    assert rq_job.timeout is not None, "every job is enqueued with a timeout"
    try:
        run_certification(
            rq_job.connection,
            read_settings(),
            certification_id,
            allowance_s=rq_job.timeout - ROOM_S,
            alone=is_suspect(rq_job.connection, certification_id),
        )
    except EngineAway as away:
        raise HandedBack from away  # not this job's fault, so it costs no attempt
    except EngineLost:
        progress.note_lost_engine(rq_job.connection, certification_id)
        raise


def find_witness(job_id: str) -> None:
    """Looks for the witness of a finished certification and stores it."""
    rq_job = get_current_job()
    assert rq_job is not None, "RQ runs this"
    certification_id = find_certification_id(job_id)
    assert certification_id is not None, "a witness is named after its certification"
    try:
        run_witness(
            rq_job.connection,
            read_settings(),
            certification_id,
            alone=is_suspect(rq_job.connection, job_id),
        )
    except EngineAway as away:
        raise HandedBack from away  # not this job's fault, so it costs no attempt
    except EngineLost:
        progress.note_lost_engine(rq_job.connection, job_id)
        raise


def count_ranges(certification_id: str, run: str) -> None:
    """Counts ranges for a certification that another host runs, until no range is open."""
    rq_job = get_current_job()
    assert rq_job is not None, "RQ runs this"
    settings = read_settings()
    host = name_host(settings.socket_path)
    help_certification(rq_job.connection, settings, certification_id, run, host=host)
