"""POST /audit and GET /keys/signing: certificates checked by someone who trusts nobody."""

from typing import Annotated, Any

from fastapi import APIRouter, Body

from app import errors
from app.auditing import audit_document
from app.deps import RedisDep
from app.schemas import AuditReport, SigningKey
from worker import keyspace

router = APIRouter(tags=["audit"])

Document = Annotated[
    dict[str, Any],
    Body(description="A finished certification, as it was answered."),
]


@router.get("/keys/signing", responses=errors.describe(errors.QueueUnavailable, errors.NotReady))
def get_signing_key(redis: RedisDep) -> SigningKey:
    """The public key of this service's certificates."""
    if (key := _find_signing_key(redis)) is None:
        raise errors.NotReady("No worker has published a signing key yet.", missing=("worker",))
    return SigningKey(public_key=key)


def _find_signing_key(redis: RedisDep) -> str | None:
    stored = redis.get(keyspace.SIGNING_KEY)
    return stored.decode() if isinstance(stored, bytes) else stored


@router.post(
    "/audit",
    responses=errors.describe(
        errors.BodyTooLarge, errors.RequestInvalid, errors.QueueUnavailable, errors.NotReady
    ),
)
def audit(document: Document, redis: RedisDep) -> AuditReport:
    """Recomputes certificates from their counts and checks the signature; nothing is stored."""
    if (key := _find_signing_key(redis)) is None:
        raise errors.NotReady("No worker has published a signing key yet.", missing=("worker",))
    return audit_document(document, (key,))
