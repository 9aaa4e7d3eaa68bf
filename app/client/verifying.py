"""A certificate checked here: no model, no server, nobody trusted."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from app.client.answers import Certification

if TYPE_CHECKING:
    from worker.contract.certificate.audit import AuditReport


def verify(certification: Certification | bytes, trusted_keys: Sequence[str] = ()) -> "AuditReport":
    """Signature, sentences and every figure recomputed from its counts.

    Args:
        certification: a finished one, or its stored bytes.
        trusted_keys: public keys in base64 that a signature may be by. Take them once from
            `Client.signing_key`, compare them with the operator's, and keep them; without any, a
            signature shows only that the document is whole, not whose it is.

    Returns:
        `holds`, `findings` with a sentence each, and `unseen`: what no audit of counts can see.

    Raises:
        ValueError: the bytes are no JSON object.
    """
    from worker.contract.certificate.audit import audit_document, parse_json

    content = certification if isinstance(certification, bytes) else certification.content
    return audit_document(parse_json(content), tuple(trusted_keys))
