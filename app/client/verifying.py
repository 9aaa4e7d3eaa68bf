"""Verifies certificates and joins them locally: no model, no server, nobody trusted."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from app.client.answers import Certification

if TYPE_CHECKING:
    from worker.contract.certificate.audit import AuditReport
    from worker.contract.certificate.series import JointAbstained, JointCertified


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


def join(certifications: Sequence[Certification]) -> "tuple[JointCertified | JointAbstained, ...]":
    """What the certifications of a joint batch say about its images together, by counting.

    Args:
        certifications: those of one batch. Images that are left out or have no certificates count
            for no class.

    Returns:
        one statement for each noise level and label set.

    Raises:
        ValueError: none has finished, or they are not of one joint request.
    """
    from worker.contract.certificate.audit import parse_json
    from worker.contract.certificate.document import parse_document
    from worker.contract.certificate.series import join_images

    ended = [one for one in certifications if one.status == "finished"]
    results = [parse_document(parse_json(one.content)) for one in ended]
    if len({result.model for result in results}) > 1:
        raise ValueError("the certificates are not of one model")
    return join_images([result.certificates for result in results])
