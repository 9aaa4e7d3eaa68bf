"""POST /audit and GET /keys/signing: certificates checked by someone who trusts nobody."""

from anyio import to_thread
from fastapi import APIRouter, Request
from redis import Redis

from app.server.access.caller import Reader
from app.server.answers import problems
from app.server.answers.schemas import SigningKey
from app.server.routes.dependencies import RedisDep
from worker.contract.certificate.audit import (
    MAX_DOCUMENT_BYTES,
    AuditReport,
    audit_document,
    parse_json,
)
from worker.store import keyspace
from worker.store.connection import as_text

router = APIRouter(tags=["audit"])


@router.get(
    "/keys/signing", responses=problems.describe(problems.QueueUnavailable, problems.NotReady)
)
def get_signing_key(redis: RedisDep, _: Reader) -> SigningKey:
    """The public key of this service's certificates."""
    return SigningKey(public_key=_require_signing_key(redis))


def _require_signing_key(redis: Redis) -> str:
    if (stored := redis.get(keyspace.SIGNING_KEY)) is None:
        raise problems.NotReady("No worker has published a signing key yet.", missing=("worker",))
    return as_text(stored)


@router.post(
    "/audit",
    responses=problems.describe(
        problems.BodyTooLarge, problems.RequestInvalid, problems.QueueUnavailable, problems.NotReady
    ),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"type": "object"}}},
            "description": "A finished certification, as it was answered.",
        }
    },
)
async def audit(request: Request, redis: RedisDep, _: Reader) -> AuditReport:
    """Recomputes certificates from their counts and checks the signature; nothing is stored."""
    return await to_thread.run_sync(_audit, await request.body(), redis)


def _audit(body: bytes, redis: Redis) -> AuditReport:
    if len(body) > MAX_DOCUMENT_BYTES:
        raise problems.BodyTooLarge
    try:
        document = parse_json(body)
    except ValueError:
        raise problems.invalid("body", "a JSON object with no name twice and no NaN") from None
    return audit_document(document, (_require_signing_key(redis),))
