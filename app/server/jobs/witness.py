"""The witness of a certification: asked for, and as it stands."""

from typing import Literal

from redis import Redis

from app.server.answers import problems
from app.server.answers.pictures import show_difference
from app.server.answers.report.witness import PrintedWitness
from app.server.answers.witness import Witness, create_ended, create_waiting
from app.server.jobs.lookup import require_image
from app.server.jobs.services import Services
from worker.contract import CertificationJob
from worker.contract.certificate.document import FinishedResult
from worker.contract.image import Image
from worker.contract.witness import Changed, FailedWitness, FinishedWitness
from worker.jobs.witness import LOST, ask_for_witness, get_witness_state
from worker.store.jobs import results
from worker.store.jobs import witness as store

Which = Literal["smoothed", "undefended", "smoothed-difference", "undefended-difference"]


def ask(services: Services, job: CertificationJob) -> Witness:
    """The witness of a finished certification: queued now, or as it stands.

    Raises:
        NotFinished: it has no certificates.
        InputImageExpired: the image is no longer stored, and there is no witness.
        QueueFull: too much waits.
    """
    redis = services.redis
    if not isinstance(results.find_result(redis, job.id), FinishedResult):
        raise problems.NotFinished(
            "A witness is looked for once a certification has finished, not before."
        )
    if get_witness_state(redis, job.id) in ("absent", "failed"):
        require_image(redis, job)
        services.queue_limit.require_room(redis, "batch")
        services.audit.record("witness.asked", certification_id=job.id)
        ask_for_witness(redis, job.id, ttl_s=services.settings.certificate_ttl_s)
    return show(redis, job)


def show(redis: Redis, job: CertificationJob) -> Witness:
    """The witness as it stands.

    Raises:
        WitnessUnknown: nobody asked for it.
    """
    match get_witness_state(redis, job.id):
        case "absent":
            raise problems.WitnessUnknown
        case "queued" | "running" as status:
            return create_waiting(job, status)
        case "finished" | "failed":
            found = store.find_witness(redis, job.id)
            return create_ended(job, found or FailedWitness(failure=LOST))


def print_witness(redis: Redis, job: CertificationJob) -> PrintedWitness | None:
    """What a report prints of a witness; None where none was found."""
    found = store.find_witness(redis, job.id)
    if not isinstance(found, FinishedWitness):
        return None
    shown: dict[str, Image] = {}
    for one in found.witnesses:
        for change in (one.smoothed, one.undefended):
            if (
                isinstance(change, Changed)
                and (image := _find_image(redis, job, change)) is not None
            ):
                shown[change.image_sha256] = image
    return PrintedWitness(witness=found, images=shown)


def _find_image(redis: Redis, job: CertificationJob, change: Changed) -> Image | None:
    described, sha256 = job.request.input, change.image_sha256
    return store.find_image(redis, job.id, sha256, height=described.height, width=described.width)


def get_picture(redis: Redis, job: CertificationJob, certificate: int, which: Which) -> Image:
    """The image at which an answer changed, or what was changed, uint8 (3, H, W).

    Raises:
        WitnessUnknown: there is no such change.
        InputImageExpired: the certified image, to which it is a difference, is no longer stored.
    """
    found = store.find_witness(redis, job.id)
    if not isinstance(found, FinishedWitness) or certificate >= len(found.witnesses):
        raise problems.WitnessUnknown
    kind, _, difference = which.partition("-")
    change = getattr(found.witnesses[certificate], kind)
    image = _find_image(redis, job, change) if isinstance(change, Changed) else None
    if image is None:
        raise problems.WitnessUnknown
    return show_difference(require_image(redis, job), image)[0] if difference else image
