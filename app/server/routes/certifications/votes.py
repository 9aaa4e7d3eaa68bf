"""GET /certifications/{id}/votes: single votes with their proofs, for auditors."""

from typing import Annotated

from fastapi import APIRouter, Query

from app.request.numbers import PLAIN_WHOLE
from app.server.answers import problems
from app.server.answers.schemas import FinishedCertification
from app.server.jobs.lookup import show
from app.server.routes.dependencies import JobDep, RedisDep
from worker.certification import Phase
from worker.certification.merkle import audit_path, path_leads_to
from worker.contract import CertifyRequest
from worker.contract.certificate.document import (
    AbstainedByCohen,
    AbstainedByStaged,
    BallotName,
    CertificateDocument,
    CertifiedByCohen,
    CertifiedByStaged,
    Selector,
)
from worker.contract.request import request_sha256
from worker.contract.votes import ShownVote, VoteList, votes_stream
from worker.counting.contests import create_contests, create_places
from worker.store.votes import VotesOf, get_votes

router = APIRouter(tags=["audit"])

MAX_VOTES = 64
Samples = Annotated[
    list[Annotated[int, Query(ge=0), PLAIN_WHOLE]],
    Query(alias="sample", min_length=1, max_length=MAX_VOTES, description="Sample indices."),
]
Place = Annotated[int, Query(ge=0, description="Which certificate, from 0."), PLAIN_WHOLE]
BallotQuery = Annotated[
    BallotName,
    Query(description="selector: the choice of a prompt, of certificates by routed alone."),
]


@router.get(
    "/certifications/{certification_id}/votes",
    responses=problems.describe(
        problems.CertificationUnknown,
        problems.VotesUnknown,
        problems.RequestInvalid,
        problems.QueueUnavailable,
    ),
)
def list_votes(
    job: JobDep,
    redis: RedisDep,
    sample: Samples,
    certificate: Place = 0,
    phase: Phase = "estimation",
    ballot: BallotQuery = "prediction",
) -> VoteList:
    """The votes of samples of your choice, each with its path to the certificate's Merkle root.

    Evaluate the same samples with the model (promptsmooth check-votes) and compare.
    """
    shown = show(redis, job)
    if not isinstance(shown, FinishedCertification) or certificate >= len(shown.certificates):
        raise problems.VotesUnknown
    entry = shown.certificates[certificate]
    evidence = _find_evidence(entry, ballot)
    n = _count(evidence, phase)
    if evidence is None or max(sample) >= n:
        raise problems.VotesUnknown
    sha256 = request_sha256(job.request, shown.provenance.key_commitment)
    stream = votes_stream(entry.sigma, phase, _place(job.request, certificate, entry, ballot))
    votes = get_votes(redis, VotesOf(sha256, shown.provenance), stream, n)
    if len(votes) < n:
        raise problems.VotesUnknown
    root, paths = evidence.votes_root[phase], {i: audit_path(votes, i) for i in sample}
    if not all(
        path_leads_to(root, n=n, index=i, vote=votes[i], path=path) for i, path in paths.items()
    ):
        raise problems.VotesUnknown  # another count's
    return VoteList(
        certificate=certificate,
        phase=phase,
        ballot=ballot,
        n=n,
        root=root,
        votes=tuple(
            ShownVote(sample=i, vote=votes[i], path=tuple(step.hex() for step in paths[i]))
            for i in sample
        ),
    )


def _find_evidence(
    entry: CertificateDocument, ballot: BallotName
) -> CertificateDocument | Selector | None:
    """The evidence of one ballot of a certificate; None if it has no such ballot."""
    if ballot == "prediction":
        return entry
    return None if entry.routing is None else entry.routing.selector


def _count(evidence: object, phase: Phase) -> int:
    """How many votes of a phase a ballot counted; 0 if it has no such phase."""
    match evidence:
        case CertifiedByStaged() | AbstainedByStaged() | Selector():
            return evidence.looks[-1].n if phase == "estimation" else 0
        case CertifiedByCohen() | AbstainedByCohen():
            return evidence.n if phase == "estimation" else evidence.n0
    return 0


def _place(
    request: CertifyRequest, certificate: int, entry: CertificateDocument, ballot: BallotName
) -> int:
    """The index of the ballot's votes among all ballots of the request."""
    places = create_places(create_contests(request))[certificate % len(request.targets)]
    if entry.routing is None or ballot == "selector":
        return places[0]
    return places[1 + entry.routing.selected_index]
