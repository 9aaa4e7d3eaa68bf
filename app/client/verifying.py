"""Verifies a certificate locally: no model, no server, nobody trusted."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from app.client.answers import Certification

if TYPE_CHECKING:
    from worker.contract.certificate.audit import AuditReport


def verify(certification: Certification | bytes, trusted_keys: Sequence[str] = ()) -> "AuditReport":
    """Checks the signature and the sentences, and recomputes every figure from its counts.

    Args:
        certification: a finished one, or its stored bytes.
        trusted_keys: public keys in base64 that may have signed. Take them once from
            `Client.signing_key`, compare them with the operator's, and keep them. Without any, a
            signature only shows that the document is intact, not who signed it.

    Returns:
        `holds`, `findings` with a sentence each, and `unseen`: what no audit of counts can check.

    Raises:
        ValueError: the bytes are not a JSON object.
    """
    from worker.contract.certificate.audit import audit_document, parse_json

    content = certification if isinstance(certification, bytes) else certification.content
    return audit_document(parse_json(content), tuple(trusted_keys))
