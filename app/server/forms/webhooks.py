"""The JSON body of POST /webhooks/test, which may also be empty."""

from typing import Any

from app.request.callback import RULE, check_callback
from app.request.refusal import FieldInvalid
from app.server.answers.problems import JsonUnreadable
from app.server.forms.items import require_known
from models.files.untrusted_text import parse_strict

MAX_BYTES = 16_384
RULES = {"callback_url": RULE}
BODY: dict[str, Any] = {
    "requestBody": {
        "required": False,
        "description": "Where to; left out: the default of the key.",
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "title": "WebhookTest",
                    "properties": {"callback_url": {"type": "string", "description": RULE}},
                    "additionalProperties": False,
                }
            }
        },
    }
}


def parse_test(body: bytes) -> str | None:
    """The address that a body names, or None.

    Raises:
        Problem: the body is no JSON object, or has another field.
        FieldInvalid: the address is not one.
    """
    if not body.strip():
        return None
    try:
        document = parse_strict(body)
    except ValueError:
        raise JsonUnreadable from None
    if not isinstance(document, dict):
        raise JsonUnreadable
    require_known(document, RULES)
    url = document.get("callback_url")
    if url is None:
        return None
    try:
        return check_callback(url if isinstance(url, str) else "")
    except ValueError:
        raise FieldInvalid("callback_url", RULE) from None
