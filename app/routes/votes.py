"""GET /certifications/{id}/votes: single votes with their proofs, for auditors."""

from typing import Annotated

from fastapi import APIRouter, Query

from app import errors
from app.deps import CertificationId, RedisDep
from app.lookup import find_certification
from app.schemas import FinishedCertification, ShownVote, VoteList
from worker import results
from worker.certification import Phase
from worker.certification.merkle import audit_path
from worker.document import (
    AbstainedByCohen,
    AbstainedByStaged,
    CertifiedByCohen,
    CertifiedByStaged,
)
from worker.votes_store import get_votes, votes_stream

router = APIRouter(tags=["audit"])

MAX_VOTES = 64
Samples = Annotated[
    list[Annotated[int, Query(ge=0)]],
    Query(alias="sample", min_length=1, max_length=MAX_VOTES, description="Sample indices."),
]
Place = Annotated[int, Query(ge=0, description="Which certificate, from 0.")]


@router.get(
    "/certifications/{certification_id}/votes",
    responses=errors.describe(
        errors.CertificationUnknown,
        errors.VotesUnknown,
        errors.RequestInvalid,
        errors.QueueUnavailable,
    ),
)
def list_votes(
    certification_id: CertificationId,
    redis: RedisDep,
    sample: Samples,
    certificate: Place = 0,
    phase: Phase = "estimation",
) -> VoteList:
    """The votes of samples of your choice, each with its path to the certificate's Merkle root.

    Evaluate the same samples with the model (promptsmooth check-votes) and compare.
    """
    shown = find_certification(redis, certification_id)
    if not isinstance(shown, FinishedCertification) or certificate >= len(shown.certificates):
        raise errors.VotesUnknown
    entry = shown.certificates[certificate]
    n = _count(entry, phase)
    if max(sample) >= n:
        raise errors.VotesUnknown
    job = results.find_job(redis, certification_id)
    assert job is not None, "it was just found"
    sha256 = results.request_sha256(job.request, shown.provenance.key_commitment)
    target_index = certificate % len(job.request.targets)
    votes = get_votes(redis, sha256, votes_stream(entry.sigma, phase, target_index), n)
    if len(votes) < n:
        raise errors.VotesUnknown
    return VoteList(
        certificate=certificate,
        phase=phase,
        n=n,
        root=entry.votes_root[phase],
        votes=tuple(
            ShownVote(
                sample=i, vote=votes[i], path=tuple(step.hex() for step in audit_path(votes, i))
            )
            for i in sample
        ),
    )


def _count(entry: object, phase: Phase) -> int:
    """How many votes of a phase a certificate rests on; 0 where it has none."""
    match entry:
        case CertifiedByStaged() | AbstainedByStaged():
            return entry.looks[-1].n if phase == "estimation" else 0
        case CertifiedByCohen() | AbstainedByCohen():
            return entry.n if phase == "estimation" else entry.n0
    return 0
