"""Checks a certificate from its counts alone, without a model and without trusting its issuer.

An audit of counts cannot see whether the counts came from the model named, nor whether another
attempt was thrown away. The audit says so.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from worker.certification.evidence import Evidence, Wrong

_LARGEST_SIDE = 65_535
UNSEEN = (
    "The counts were taken as they stand: that they came from the model and the noise named, only "
    "running it again can show.",
    "That the noise keys belong to the secret committed to, only its holder can show.",
    "Tuning was not repeated: a prompt tuned on the image is certified as it is, however it came.",
    "That no other attempt on this image was thrown away, only the service's own records can show.",
)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The result of one check.

    Attributes:
        code: stable name of the check.
        holds: whether the check passed.
        sentence: what was found, in words.
        certificate: index of the certificate within the document, from 0; None where the finding
            is about the whole document.
    """

    code: str
    holds: bool
    sentence: str
    certificate: int | None = None


@dataclass(frozen=True, kw_only=True)
class Audit:
    """The findings of an audit, and what no audit of counts can see."""

    findings: tuple[Finding, ...]
    unseen: tuple[str, ...] = UNSEEN

    @property
    def holds(self) -> bool:
        """Whether every check passed."""
        return all(finding.holds for finding in self.findings)


def audit_certificate(document: Mapping[str, Any]) -> Audit:
    """Recomputes every certificate of a document from its counts.

    The audit checks that:
    - the looks are complete from the first to the last, nested, and at the schedule's sizes;
    - the counts add up;
    - the class and the outcome follow from the counts;
    - no radius, bound or reading aid claims more than the counts prove.

    Args:
        document: a finished certification as the service returns it, parsed from JSON.

    Returns:
        All findings, including those that hold. A document that cannot be read gives a single
        finding.
    """
    try:
        certificates = _certificates(document)
        dimension = 3 * _side(document["input"]["height"]) * _side(document["input"]["width"])
        tables = document["provenance"]["table_sha256"]
    except (KeyError, TypeError, Wrong) as error:
        return Audit(findings=(_unreadable(error, None),))
    findings = [
        finding
        for place, certificate in enumerate(certificates)
        for finding in _audit_one(certificate, place, dimension, tables, len(certificates))
    ]
    keys = _audit_keys(document["provenance"], certificates)
    return Audit(findings=(_audit_agreement(certificates), keys, *findings))


_SHARED = (
    *("alpha", "joint", "certificates_in_request"),
    *("procedure", "n_max", "n_cap", "continuations"),
    *("attempts", "alpha_of_attempts"),
)


def _audit_agreement(certificates: Sequence[Mapping[str, Any]]) -> Finding:
    """Checks that the certificates agree on alpha, its division, the procedure and the attempts."""
    said = [[certificate.get(name) for name in _SHARED] for certificate in certificates]
    if any(one != said[0] for one in said):
        sentence = "Certificates of one request disagree about alpha, procedure or attempts."
        return Finding(code="agreement", holds=False, sentence=sentence)
    return Finding(code="agreement", holds=True, sentence="All certificates share their terms.")


def _audit_keys(
    provenance: Mapping[str, Any], certificates: Sequence[Mapping[str, Any]]
) -> Finding:
    """Checks that each purpose has its own noise key, so that their samples are independent."""
    keys = provenance.get("noise_keys", {})
    wanted = {"selection", "estimation"}
    if any(certificate.get("adaptation") is not None for certificate in certificates):
        wanted.add("adaptation")
    if not isinstance(keys, Mapping) or set(keys) != wanted:
        sentence = f"The noise keys revealed are not for exactly {sorted(wanted)}."
        return Finding(code="keys", holds=False, sentence=sentence)
    if len(set(keys.values())) != len(keys):
        sentence = "Two purposes share one noise key, so their samples are not independent."
        return Finding(code="keys", holds=False, sentence=sentence)
    return Finding(code="keys", holds=True, sentence="Each purpose has a noise key of its own.")


def _side(value: Any) -> int:
    if not isinstance(value, int) or not 1 <= value <= _LARGEST_SIDE:
        raise Wrong("unreadable", "the size of the image is not valid")
    return value


def _certificates(document: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    certificates = document["certificates"]
    if not isinstance(certificates, list) or not certificates:
        raise Wrong("unreadable", "there are no certificates in this document")
    return certificates


def _unreadable(error: Exception, place: int | None) -> Finding:
    what = str(error) if isinstance(error, Wrong | ValueError) else f"{error} is missing or wrong"
    sentence = f"The document cannot be read as a certificate: {what}."
    return Finding(code="unreadable", holds=False, sentence=sentence, certificate=place)


def _audit_one(
    certificate: Mapping[str, Any],
    place: int,
    dimension: int,
    tables: Mapping[str, str],
    together: int,
) -> Iterator[Finding]:
    try:
        evidence = Evidence(certificate, dimension, tables, together)
        for check in (
            evidence.check_parameters,
            evidence.check_counts,
            evidence.check_roots,
            evidence.check_selector,
            evidence.check_stop,
            evidence.check_outcome,
            evidence.check_class,
            evidence.check_radius,
            evidence.check_bounds,
            evidence.check_reading_aids,
        ):
            yield _run(check, place)
    except (KeyError, TypeError, ValueError, ArithmeticError, IndexError) as error:
        yield _unreadable(error, place)


def _run(check: Callable[[], tuple[str, str]], place: int) -> Finding:
    try:
        code, sentence = check()
    except Wrong as wrong:
        return Finding(code=wrong.code, holds=False, sentence=str(wrong), certificate=place)
    return Finding(code=code, holds=True, sentence=sentence, certificate=place)
