"""Single votes of an auditor's choice: under the certificate's root, and f's own."""

from collections.abc import Sequence
from dataclasses import dataclass

from worker.certification import Finding, Phase
from worker.certification.merkle import NO_VOTE, path_leads_to
from worker.contract import protocol
from worker.contract.certificate.ballots import find_doubted
from worker.contract.certificate.document import BallotName, FinishedResult
from worker.contract.image import Image
from worker.contract.votes import VoteWithPath
from worker.counting.counter import Counter
from worker.counting.other_f import is_explained
from worker.counting.recorded import (
    NotReproducible,
    Rested,
    create_finding,
    create_recount,
    describe_f,
    require_certified,
    rested_on,
)
from worker.counting.records.files import FindPrompt


def check_votes(
    result: FinishedResult,
    image: Image,
    counter: Counter,
    find_prompt: FindPrompt = lambda _: None,
    *,
    certificate: int,
    phase: Phase,
    shown: Sequence[VoteWithPath],
    ballot: BallotName = "prediction",
) -> tuple[Finding, ...]:
    """Checks whether votes that an auditor chose are under the certificate's root and are f's.

    Each vote costs one noisy image, whatever n is. Samples chosen at random bound the share of
    wrong votes.

    Raises:
        NotReproducible: another image, or no such certificate or phase.
    """
    require_certified(result, image)
    rested = _find_rested(result, certificate, phase, ballot)
    sigma = result.certificates[certificate].sigma
    opened = counter.open(
        create_recount(result, {sigma: {certificate: (rested,)}}, find_prompt), image
    )
    doubted = find_doubted(result, certificate, phase, ballot)
    other_f = describe_f(result, opened)
    near_ties = other_f is None and bool(result.provenance.tau)
    checked = [
        _check_vote(counter, phase, rested, one, doubted=one.sample in doubted, near_ties=near_ties)
        for one in shown
    ]
    return _conclude_votes(certificate, checked, other_f)


def _find_rested(
    result: FinishedResult, certificate: int, phase: Phase, ballot: BallotName
) -> Rested:
    if certificate < len(result.certificates):
        for rested in rested_on(result.certificates[certificate]):
            if rested.name == ballot and phase in rested.roots:
                return rested
    raise NotReproducible("the document has no votes of that certificate, phase and ballot")


@dataclass(frozen=True, kw_only=True)
class _Checked:
    """One vote shown: whether the root has it, and whether the f here gives another."""

    under_root: bool
    differs: bool
    sentence: str


def _check_vote(
    counter: Counter,
    phase: Phase,
    rested: Rested,
    shown: VoteWithPath,
    *,
    doubted: bool,
    near_ties: bool,
) -> _Checked:
    """Checks one vote. Where it may be `near_ties`, one of two runs of f may call it ambiguous."""
    i, root, n = shown.sample, rested.roots[phase], rested.last(phase)
    if not 0 <= i < n or not path_leads_to(root, n=n, index=i, vote=shown.vote, path=shown.path):
        sentence = f"Sample {i}: the vote shown is not the one under the certificate's root."
        return _Checked(under_root=False, differs=False, sentence=sentence)
    if doubted:
        sentence = f"Sample {i}: under the root as ambiguous, because two hosts disagreed on it."
        differs = shown.vote != NO_VOTE
        if differs:
            sentence = f"Sample {i}: two hosts disagreed on it, and yet it is counted as a vote."
        return _Checked(under_root=not differs, differs=differs, sentence=sentence)
    counter.count(protocol.CountRange(sigma_index=0, phase=phase, start=i, stop=i + 1))
    (again,) = counter.receive().get_votes(0)
    if near_ties and again != shown.vote and NO_VOTE in (again, shown.vote):
        sentence = f"Sample {i}: so near to a tie that one of two runs of f calls it ambiguous."
        return _Checked(under_root=True, differs=False, sentence=sentence)
    if again != shown.vote:
        sentence = f"Sample {i}: evaluated again it votes {again}, the service said {shown.vote}"
        return _Checked(under_root=True, differs=True, sentence=sentence)
    sentence = f"Sample {i}: under the root, and evaluated again it votes {again} too."
    return _Checked(under_root=True, differs=False, sentence=sentence)


def _conclude_votes(
    certificate: int, checked: Sequence[_Checked], other_f: str | None
) -> tuple[Finding, ...]:
    """The findings on all votes shown: another f may explain some that differ, and no more."""
    differing = sum(one.differs for one in checked if one.under_root)
    explained = other_f is not None and is_explained(differing, len(checked))

    def conclude(one: _Checked) -> Finding:
        if not one.differs or not one.under_root:
            return create_finding(certificate, holds=one.under_root, sentence=one.sentence)
        why = f"; counted here by {other_f}." if explained else "."
        return create_finding(certificate, holds=explained, sentence=one.sentence + why)

    found = tuple(map(conclude, checked))
    if not differing or other_f is None:
        return found
    sentence = f"{differing} of {len(checked)} votes differ here, by {other_f}."
    return (*found, create_finding(certificate, holds=explained, sentence=sentence))
