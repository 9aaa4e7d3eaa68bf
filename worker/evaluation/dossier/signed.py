"""The signed dossier: one JSON file beside the PDF, checked without torch and without a model.

The signature covers the dossier and the digest of the PDF, so that neither can be changed alone.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

from models.files.untrusted_text import parse_strict
from worker.certification.audit import Finding
from worker.contract.certificate.signature import check_signed, create_signature
from worker.contract.request import canonical_bytes

KIND = "robustness dossier"
MAX_BYTES = 32 * 2**20


def seal(dossier: Mapping[str, Any], pdf: bytes, secret: bytes | None) -> dict[str, Any]:
    """The document to write: the dossier, the PDF's digest and a signature.

    Args:
        dossier: the fields of the dossier as JSON has them.
        pdf: the printed dossier.
        secret: the secret whose key signs; None leaves the document unsigned.
    """
    document = {"dossier": dict(dossier), "pdf_sha256": hashlib.sha256(pdf).hexdigest()}
    if secret is None:
        return document
    signature = create_signature(_get_signed(document), secret)
    return {**document, "signature": signature.model_dump(mode="json")}


def parse_sealed(data: bytes) -> dict[str, Any]:
    """The document in untrusted bytes.

    Raises:
        ValueError: it is too long, or no dossier.
    """
    if len(data) > MAX_BYTES:
        raise ValueError(f"a dossier has at most {MAX_BYTES} bytes")
    try:
        document = parse_strict(data)
    except ValueError:
        document = None
    inner = document.get("dossier") if isinstance(document, dict) else None
    if not isinstance(inner, dict) or inner.get("kind") != KIND or "pdf_sha256" not in document:
        raise ValueError("the file is no dossier: name the JSON file that was written with the PDF")
    if unknown := set(document) - {"dossier", "pdf_sha256", "signature"}:
        raise ValueError(f"a dossier has no field {sorted(unknown)[0]!r}: nothing signs it")
    return dict(document)


def check_sealed(
    document: Mapping[str, Any], pdf: bytes | None, trusted_keys: tuple[str, ...]
) -> tuple[Finding, ...]:
    """The signature, whether its key is the run's, and the PDF where there is one.

    Args:
        document: what `parse_sealed` returned.
        pdf: the bytes of the printed dossier; None: it is not at hand.
        trusted_keys: public keys in base64; without any, the sentence says what that is worth.
    """
    signature = check_signed(
        document,
        _get_signed,
        trusted_keys,
        signer="the maker",
        published="that the maker of the dossier gives you",
    )
    findings = [signature, _check_signer(document)]
    if pdf is not None:
        findings.append(_check_pdf(document, pdf, is_signed=signature.holds))
    return tuple(findings)


def _check_signer(document: Mapping[str, Any]) -> Finding:
    """Whether the dossier and the certificates of its run name one key."""
    named, signature = document["dossier"].get("reproduction"), document.get("signature")
    keys = (
        named.get("signer") if isinstance(named, dict) else None,
        signature.get("public_key") if isinstance(signature, dict) else None,
    )
    holds = keys[0] is not None and keys[0] == keys[1]
    sentence = "The signature names the key of the run's certificates."
    if not holds:
        sentence = "No signature names the key of the run's certificates."
    return Finding(code="signer", holds=holds, sentence=sentence)


def _check_pdf(document: Mapping[str, Any], pdf: bytes, *, is_signed: bool) -> Finding:
    """Whether the PDF is the one whose digest is signed. An unsigned digest proves nothing."""
    same = hashlib.sha256(pdf).hexdigest() == document["pdf_sha256"]
    if same and not is_signed:
        sentence = "No signature protects the PDF: who changed it can have changed its digest too."
    else:
        sentence = f"The PDF is {'' if same else 'not '}the one that was written with it."
    return Finding(code="pdf", holds=same and is_signed, sentence=sentence)


def _get_signed(document: Mapping[str, Any]) -> bytes:
    return canonical_bytes({name: document[name] for name in ("dossier", "pdf_sha256")})
