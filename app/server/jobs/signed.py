"""Whether a stored result is as a worker host signed it. Whoever writes to Redis could edit it."""

from redis import Redis

from models.log import get_logger
from worker.contract.certificate.document import CertificationResult, FinishedResult
from worker.contract.certificate.signature import check_signature
from worker.store import keyspace
from worker.store.connection import as_text

_log = get_logger(__name__)


def is_as_signed(redis: Redis, certification_id: str, result: CertificationResult | None) -> bool:
    """Whether a finished result has the service's signature; what is not finished needs none.

    Before any worker host has published its key there is nothing to compare with.
    """
    if not isinstance(result, FinishedResult):
        return True
    key = redis.get(keyspace.SIGNING_KEY)
    if key is None or check_signature(result.model_dump(mode="json"), (as_text(key),)).holds:
        return True
    _log.error(
        "signature_broken",
        certification_id=certification_id,
        do="somebody changed Redis, or its memory is damaged; restore a backup",
    )
    return False
