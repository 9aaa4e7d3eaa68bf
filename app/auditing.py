"""An audit: the signature, and every certificate recomputed from its counts."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from app.schemas import AuditFinding, AuditReport
from worker.certification import audit_certificate
from worker.signing import check_signature


def load_document(path: Path) -> dict[str, Any]:
    """The JSON object in a file. ValueError when there is none."""
    try:
        document = json.loads(path.read_bytes())
    except ValueError:
        raise ValueError("the certificate is no JSON") from None
    if not isinstance(document, dict):
        raise ValueError("the certificate is no JSON object")
    return document


def audit_document(document: Mapping[str, Any], trusted_keys: tuple[str, ...]) -> AuditReport:
    """All that an audit checks without a model; `trusted_keys` as `check_signature` takes them."""
    audited = audit_certificate(document)
    findings = (check_signature(document, trusted_keys), *audited.findings)
    return AuditReport(
        holds=all(finding.holds for finding in findings),
        findings=tuple(
            AuditFinding(code=f.code, holds=f.holds, sentence=f.sentence, certificate=f.certificate)
            for f in findings
        ),
        unseen=audited.unseen,
    )
