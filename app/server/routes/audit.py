"""POST /audit and GET /keys/signing: certificates checked by someone who trusts nobody."""

from anyio import to_thread
from fastapi import APIRouter, Request
from redis import Redis

from app.server.access.caller import Reader
from app.server.answers import problems
from app.server.answers.schemas import SigningKey
from app.server.forms.items import read_body
from app.server.jobs.audit_apart import audit_apart
from app.server.routes.dependencies import RedisDep, ServicesDep
from worker.contract.certificate.audit import MAX_DOCUMENT_BYTES, AuditReport
from worker.store import keyspace
from worker.store.connection import as_text

router = APIRouter(tags=["audit"])


@router.get(
    "/keys/signing", responses=problems.describe(problems.QueueUnavailable, problems.NotReady)
)
def get_signing_key(redis: RedisDep, _: Reader) -> SigningKey:
    """The public key of this service's certificates."""
    if (found := _find_signing_key(redis)) is None:
        raise _not_ready()
    return SigningKey(public_key=found)


def _find_signing_key(redis: Redis) -> str | None:
    stored = redis.get(keyspace.SIGNING_KEY)
    return None if stored is None else as_text(stored)


def _not_ready() -> problems.NotReady:
    return problems.NotReady("No worker has published a signing key yet.", missing=("worker",))


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
async def audit(request: Request, services: ServicesDep, _: Reader) -> AuditReport:
    """Recomputes certificates from their counts and checks the signature; nothing is stored."""
    body = bytes(await read_body(request, most=MAX_DOCUMENT_BYTES))
    trusted = await to_thread.run_sync(_find_signing_key, services.redis)
    report = await audit_apart(body, (trusted,) if trusted else (), services.auditing)
    if trusted is None:
        raise _not_ready()
    return report
