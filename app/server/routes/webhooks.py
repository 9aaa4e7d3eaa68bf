"""POST /webhooks/test: a test delivery."""

from anyio import to_thread
from fastapi import APIRouter, Request

from app.request.refusal import FieldInvalid
from app.server.access.caller import Submitter
from app.server.answers import problems
from app.server.answers.webhooks import WebhookTested
from app.server.forms.items import read_body
from app.server.forms.webhooks import BODY, MAX_BYTES, parse_test
from app.server.routes.dependencies import ServicesDep

router = APIRouter(tags=["certifications"])

_PROBLEMS = problems.describe(
    problems.JsonUnreadable,
    problems.BodyTooLarge,
    problems.RequestInvalid,
    problems.FieldUnknown,
)


@router.post("/webhooks/test", responses=_PROBLEMS, openapi_extra=BODY)
async def test_webhook(request: Request, services: ServicesDep, caller: Submitter) -> WebhookTested:
    """Sends a signed test message now, once, and says what came of it.

    The message has the type `webhook.test` and is about no certification.
    """
    asked = parse_test(bytes(await read_body(request, most=MAX_BYTES)))
    url = await to_thread.run_sync(services.webhooks.choose_url, caller.key_id, asked)
    if url is None:
        raise FieldInvalid("callback_url", "an address, because the key has no default")
    message, attempt = await services.webhooks.deliverer.test(caller.key_id, url)
    return WebhookTested(
        message_id=message.id,
        delivered=attempt.delivered,
        status=attempt.status,
        detail=attempt.reason,
    )
