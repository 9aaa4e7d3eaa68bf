"""Certificates in groups: those of one wording, which differ in their noise level alone."""

from collections.abc import Sequence

from worker.contract.certificate.document import CertificateDocument


def group_wordings(
    certificates: Sequence[CertificateDocument],
) -> tuple[tuple[CertificateDocument, ...], ...]:
    """The certificates of each wording, in the order in which the wordings come first."""
    groups: dict[tuple[object, ...], list[CertificateDocument]] = {}
    for certificate in certificates:
        groups.setdefault(identify_wording(certificate), []).append(certificate)
    return tuple(map(tuple, groups.values()))


def identify_wording(certificate: CertificateDocument) -> tuple[object, ...]:
    """What a wording is told apart by: how classes become prompts, from what, and the classes."""
    start = certificate.started_from or certificate.prompt
    tuned = certificate.adaptation is not None and certificate.started_from is None
    name = certificate.template if tuned or start is None else start.sha256
    bank = None if certificate.routing is None else certificate.routing.bank
    return certificate.prompting, name or "", bank, certificate.class_names


def name_wording(certificate: CertificateDocument) -> str:
    """A few words on how the class names were turned into prompts."""
    if certificate.prompting == "few-shot" and certificate.prompt is not None:
        return f"few-shot {certificate.prompt.id}"
    return certificate.prompting
