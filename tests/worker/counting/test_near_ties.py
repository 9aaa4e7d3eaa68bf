"""Counting again by the same f under a tau above 0: a sample may be ambiguous in one run alone."""

import dataclasses
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.certification import Tally
from worker.certification.merkle import NO_VOTE, VoteTree, audit_path
from worker.contract import StagedParameters
from worker.contract.certificate.document import FinishedResult, LookCounts
from worker.contract.votes import VoteWithPath
from worker.counting.certify import certify
from worker.counting.other_f import judge_ties
from worker.counting.records.protocol import Unrecorded
from worker.counting.reproduce import reproduce
from worker.counting.roll import Roll
from worker.counting.vote_check import check_votes
from worker.engine.local import LocalCounter

N = 64
TAU = 1e-9  # no sample of the linear model is so near to a tie here


@pytest.fixture(scope="module")
def made(engine, create_request):
    """A document of one look, its image and its single votes; f's own tau is not measured."""
    procedure = StagedParameters(n_max=N, tolerance=Decimal(0))
    request, image = create_request(sigmas=["10"], procedure=procedure, seed=3)
    votes: list[int] = []
    result = certify(
        Roll(request, b"s" * 32),
        image,
        counter=LocalCounter(engine),
        records=Unrecorded(),
        on_votes=lambda board, _: votes.extend(v for d in board.drain_votes() for v in d.votes),
    )
    assert len(votes) == N
    return result, image, votes


def record(result: FinishedResult, votes: list[int], tau: float | None) -> FinishedResult:
    """The document of a run with these votes."""
    (entry,) = result.certificates
    recorded = entry.model_copy(
        update={
            "looks": (LookCounts.of(Tally.of_votes(votes, 2)),),
            "votes_root": {"estimation": VoteTree().appended(votes).root},
        }
    )
    provenance = result.provenance.model_copy(update={"tau": tau})
    return result.model_copy(update={"certificates": (recorded,), "provenance": provenance})


def change(votes: list[int], *, ambiguous: int = 0, flipped: int = 0) -> list[int]:
    changed = [NO_VOTE] * ambiguous + [1 - vote for vote in votes[ambiguous:][:flipped]]
    return changed + votes[len(changed) :]


@pytest.mark.parametrize(
    ("tau", "ambiguous", "holds"), [(TAU, 3, True), (None, 3, False), (0.0, 3, False)]
)
def test_samples_ambiguous_in_the_recorded_run_alone_refute_it_only_without_tau(
    made, engine, tau, ambiguous, holds
):
    result, image, votes = made
    recorded = record(result, change(votes, ambiguous=ambiguous), tau)
    same_f, finding = reproduce(recorded, image, LocalCounter(engine))
    assert same_f.sentence == "Same f, same noise tables."
    assert finding.holds == holds
    if holds:
        assert "votes differ, each of a sample so near to a tie" in finding.sentence


def test_a_vote_for_another_class_refutes_it_under_any_tau(made, engine):
    result, image, votes = made
    recorded = record(result, change(votes, flipped=1), TAU)
    assert not reproduce(recorded, image, LocalCounter(engine))[1].holds


def test_other_votes_under_equal_counts_refute_it_where_none_is_ambiguous(made, engine):
    result, image, votes = made
    recorded = record(result, sorted(votes), TAU)
    *_, finding = reproduce(recorded, image, LocalCounter(engine))
    assert "Merkle roots differ" in finding.sentence


@pytest.mark.parametrize(("tau", "holds"), [(TAU, True), (0.0, False)])
def test_a_vote_shown_as_ambiguous_holds_under_tau_alone(made, engine, tau, holds):
    result, image, votes = made
    shown = change(votes, ambiguous=1)
    paths = [VoteWithPath(sample=i, vote=shown[i], path=audit_path(shown, i)) for i in (0, 9)]
    recorded = record(result, shown, tau)
    first, other = check_votes(
        recorded, image, LocalCounter(engine), certificate=0, phase="estimation", shown=paths
    )
    assert (first.holds, other.holds) == (holds, True)
    assert ("near to a tie" in first.sentence) == holds


def test_a_vote_shown_for_another_class_does_not_hold_under_tau(made, engine):
    result, image, votes = made
    shown = change(votes, flipped=1)
    path = VoteWithPath(sample=0, vote=shown[0], path=audit_path(shown, 0))
    (finding,) = check_votes(
        record(result, shown, TAU),
        image,
        LocalCounter(engine),
        certificate=0,
        phase="estimation",
        shown=[path],
    )
    assert not finding.holds


runs = st.lists(st.tuples(st.integers(0, 2), st.booleans(), st.booleans()), min_size=1)


@given(runs)
def test_two_runs_that_differ_in_what_is_ambiguous_alone_are_plausible(samples):
    one = Tally.of_votes([NO_VOTE if a else vote for vote, a, _ in samples], 3)
    two = Tally.of_votes([NO_VOTE if b else vote for vote, _, b in samples], 3)
    judged = judge_ties(one, two)
    assert judged.plausible
    assert judged.differing <= sum(a != b for _, a, b in samples)


@given(st.integers(0, 50), st.integers(1, 50), st.integers(0, 3), st.integers(0, 3))
def test_more_votes_that_moved_than_are_ambiguous_are_not_plausible(k, moved, said, found):
    recorded = Tally(counts=(k + moved, 60), ambiguous=said)
    here = Tally(counts=(k, 60 + moved), ambiguous=said)
    assert judge_ties(recorded, here).plausible == (moved <= said)
    fewer = dataclasses.replace(here, counts=(k, 60 + moved + found))
    assert not judge_ties(recorded, fewer).plausible or found == 0
