"""An audit: form, signature, statements, and every certificate recomputed from its counts."""

import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from pydantic import Field

from models.files.untrusted_text import parse_strict
from worker.certification import Finding, audit_certificate
from worker.certification.audit import UNSEEN
from worker.contract.certificate.ballots import check_disagreements
from worker.contract.certificate.document import DOCUMENT_VERSION, FinishedResult, parse_document
from worker.contract.certificate.signature import SIGNED_FIELDS, check_signature
from worker.contract.certificate.statement import create_statement
from worker.contract.quantities import Contract

MAX_DOCUMENT_BYTES = 4 * 2**20
TableDigest = Callable[[Decimal], str]


class AuditFinding(Contract):
    """One thing that was checked, and what was found in words."""

    code: str
    holds: bool
    sentence: str
    certificate: int | None = Field(description="Which certificate, from 0; null: the document.")


class AuditReport(Contract):
    """What holds, what does not, and what no audit of counts can see."""

    holds: bool
    verdict: str = Field(description="One line: whether it holds, for how many, signed by whom.")
    key_compared: bool = Field(
        description="Whether the signer's key was compared with keys that are trusted. If not, "
        "anyone can have made and signed the document."
    )
    findings: tuple[AuditFinding, ...]
    unsigned: tuple[str, ...] = Field(
        description="The top-level fields that the signature does not cover."
    )
    unseen: tuple[str, ...]


def load_document(path: Path) -> dict[str, Any]:
    """The JSON object in a file. ValueError as `parse_json`."""
    return parse_json(path.read_bytes())


def parse_json(data: bytes) -> dict[str, Any]:
    """The JSON object in untrusted bytes, as strictly as a signature needs it.

    Raises:
        ValueError: too long, no JSON object, a name twice in one object, NaN or Infinity.
    """
    if len(data) > MAX_DOCUMENT_BYTES:
        raise ValueError(f"a certificate has at most {MAX_DOCUMENT_BYTES} bytes")
    try:
        document = parse_strict(data)
    except ValueError:
        raise ValueError(
            "the certificate is no JSON, or has a name twice in one object, or NaN"
        ) from None
    if not isinstance(document, dict):
        raise ValueError("the certificate is no JSON object")
    return document


def audit_document(
    document: Mapping[str, Any],
    trusted_keys: tuple[str, ...],
    table_digest: TableDigest | None = None,
) -> AuditReport:
    """All that can be checked without a model.

    Args:
        document: a finished certification, parsed by `parse_json`.
        trusted_keys: as `check_signature` takes them.
        table_digest: computes the digest of a noise table; None leaves those unchecked.
    """
    try:
        result = parse_document(document)
    except ValueError as error:
        unreadable = Finding(code="schema", holds=False, sentence=f"Not readable: {error}.")
        return _report(document, (unreadable,), trusted_keys)
    findings = (
        Finding(code="schema", holds=True, sentence=_name_version(result)),
        check_signature(document, trusted_keys),
        *_check_statements(result),
        *_check_tables(result, table_digest),
        *check_disagreements(result),
        *audit_certificate(document).findings,
    )
    unseen = () if table_digest else ("The digests of the noise tables were not computed here.",)
    return _report(document, findings, trusted_keys, unseen)


def _name_version(result: FinishedResult) -> str:
    done = getattr(result.certificates[0], "continuations", None)
    ordinal = f", continuation {done} of its request" if done else ""
    if result.schema_version == DOCUMENT_VERSION:
        return f"A finished certification of version {DOCUMENT_VERSION}{ordinal}."
    return (
        f"A finished certification of version {result.schema_version}, made before documents named "
        "what f does: nothing in it says which f counted."
    )


def _report(
    document: Mapping[str, Any],
    findings: Sequence[Finding],
    trusted_keys: tuple[str, ...],
    unseen: tuple[str, ...] = (),
) -> AuditReport:
    return AuditReport(
        holds=all(finding.holds for finding in findings),
        verdict=_conclude(document, findings, trusted_keys),
        key_compared=bool(trusted_keys),
        findings=tuple(
            AuditFinding(code=f.code, holds=f.holds, sentence=f.sentence, certificate=f.certificate)
            for f in findings
        ),
        unsigned=tuple(sorted(set(document) - {*SIGNED_FIELDS, "signature"})),
        unseen=(*UNSEEN, *unseen),
    )


def _conclude(
    document: Mapping[str, Any], findings: Sequence[Finding], trusted_keys: tuple[str, ...]
) -> str:
    """The verdict. What holds was read, so that it has certificates and a key."""
    if failed := sum(not finding.holds for finding in findings):
        return f"DOES NOT HOLD: {failed} finding{'s' * (failed > 1)}"
    made, key = len(document["certificates"]), document["signature"]["public_key"]
    who = f"signed by the trusted key {key}" if trusted_keys else f"signed by {key}"
    compared = "" if trusted_keys else "; key not compared"
    return f"HOLDS: {made} certificate{'s' * (made > 1)}, {who}{compared}"


def _check_statements(result: FinishedResult) -> tuple[Finding, ...]:
    """The sentences that are quoted say what the figures say."""
    said = {True: "is the figures in words.", False: "does not say what the figures say."}
    findings = []
    for place, entry in enumerate(result.certificates):
        figures = create_statement(entry, result.input, result.schema_version)
        holds = _without_zeros(entry.statement) == _without_zeros(figures)
        sentence = f"The statement {said[holds]}"
        findings.append(
            Finding(code="statement", holds=holds, sentence=sentence, certificate=place)
        )
    return tuple(findings)


def _without_zeros(statement: str) -> str:
    """A statement whose probability ends in no zero: older ones say 0.010 where JSON keeps 0.01."""
    return re.sub(r"(at most 0\.\d*[1-9])0+(?=, the sum)", r"\1", statement)


def _check_tables(result: FinishedResult, table_digest: TableDigest | None) -> tuple[Finding, ...]:
    if table_digest is None:
        return ()
    said = result.provenance.table_sha256
    wrong = [
        entry.sigma
        for entry in result.certificates
        if said.get(f"{entry.sigma:f}") != table_digest(entry.sigma)
    ]
    sentence = "are those of the exact probabilities" if not wrong else "are other ones"
    return (
        Finding(code="tables", holds=not wrong, sentence=f"The noise tables named {sentence}."),
    )
