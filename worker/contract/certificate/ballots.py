"""Where the ballots of certificates stand among all ballots of their noise level."""

from collections.abc import Mapping, Sequence
from decimal import Decimal

from worker.certification import Finding, Phase
from worker.contract.certificate.document import (
    AbstainedByCohen,
    BallotName,
    CertificateDocument,
    CertifiedByCohen,
    FinishedResult,
)


def number_ballots(
    certificates: Sequence[CertificateDocument],
) -> tuple[Mapping[BallotName, int], ...]:
    """For each certificate, the places of its ballots. A bank has a selector's and one a prompt."""
    following: dict[Decimal, int] = {}
    places: list[Mapping[BallotName, int]] = []
    for entry in certificates:
        first = following.get(entry.sigma, 0)
        if entry.routing is None:
            places.append({"prediction": first})
            following[entry.sigma] = first + 1
        else:
            chosen = first + 1 + entry.routing.selected_index
            places.append({"selector": first, "prediction": chosen})
            following[entry.sigma] = first + 1 + len(entry.routing.bank)
    return tuple(places)


def find_doubted(
    result: FinishedResult, certificate: int, phase: Phase, ballot: BallotName
) -> frozenset[int]:
    """The samples of one ballot that two hosts disagreed on."""
    place = number_ballots(result.certificates)[certificate][ballot]
    wanted = (result.certificates[certificate].sigma, phase, place)
    return frozenset(
        one.sample
        for one in result.provenance.disagreements
        if (one.sigma, one.phase, one.ballot) == wanted
    )


def check_disagreements(result: FinishedResult) -> tuple[Finding, ...]:
    """Samples that hosts disagreed on are counted as ambiguous, wherever a look includes them."""
    return tuple(
        _check(result, place, ballot, phase)
        for place, entry in enumerate(result.certificates)
        for ballot in number_ballots(result.certificates)[place]
        for phase in _phases(entry)
        if find_doubted(result, place, phase, ballot)
    )


def _phases(entry: CertificateDocument) -> tuple[Phase, ...]:
    cohen = isinstance(entry, CertifiedByCohen | AbstainedByCohen)
    return ("selection", "estimation") if cohen else ("estimation",)


def _check(result: FinishedResult, place: int, ballot: BallotName, phase: Phase) -> Finding:
    samples = find_doubted(result, place, phase, ballot)
    prefixes = _prefixes(result.certificates[place], ballot, phase)
    holds = all(sum(s < n for s in samples) <= ambiguous for n, ambiguous in prefixes)
    said = "are ambiguous" if holds else "are not all counted as ambiguous"
    return Finding(
        code="disagreements",
        holds=holds,
        sentence=f"{len(samples)} samples that two hosts counted differently {said}.",
        certificate=place,
    )


def _prefixes(
    entry: CertificateDocument, ballot: BallotName, phase: Phase
) -> list[tuple[int, int]]:
    """The samples of each prefix that was looked at, and how many of them are ambiguous."""
    if isinstance(entry, CertifiedByCohen | AbstainedByCohen):
        chosen = (entry.n0, entry.ambiguous_selection)
        return [chosen if phase == "selection" else (entry.n, entry.ambiguous)]
    selecting = ballot == "selector" and entry.routing is not None
    looks = entry.routing.selector.looks if selecting and entry.routing else entry.looks
    return [(look.n, look.ambiguous) for look in looks]
