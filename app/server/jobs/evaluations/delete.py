"""DELETE of an evaluation: cancels one that has not ended, and purges one that has."""

from datetime import UTC, datetime

from app.server.jobs.evaluations.certifications import (
    cancel_certifications,
    list_certification_ids,
    purge_certifications,
)
from app.server.jobs.evaluations.record import (
    EndedEvaluation,
    EvaluationFolder,
    StoredEvaluation,
)
from app.server.jobs.services import Services


def cancel_evaluation(
    services: Services, folder: EvaluationFolder, asked: StoredEvaluation
) -> None:
    """Ends an evaluation, and the certifications of it that are queued or running.

    If it has ended meanwhile, that end stands.
    """
    folder.end(EndedEvaluation(status="cancelled", ended_at=datetime.now(UTC)))
    cancel_certifications(services, list_certification_ids(asked))


def purge_evaluation(services: Services, folder: EvaluationFolder, asked: StoredEvaluation) -> None:
    """Removes an ended evaluation and its certifications: images, votes, certificates, tables.

    What keeps a further try from being a free one stays, as with any certification.
    """
    purge_certifications(services, list_certification_ids(asked))
    folder.remove()
