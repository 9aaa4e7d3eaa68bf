"""Ranges in any order, twice or in disagreement: out they come once, in order and whole."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from worker.certification import Tally
from worker.certification.merkle import NO_VOTE
from worker.contract.protocol import CountRange, RangeCounted
from worker.contract.votes import encode_votes
from worker.counting.range_merge import Disagreement, RangeMerge, join_parts
from worker.jobs.sharing.counter import cut

CLASSES = (2, 3)  # of two ballots


def count(votes: list[list[int]], start: int, stop: int, sigma_index: int = 0) -> RangeCounted:
    mine = [np.array(ballot[start:stop]) for ballot in votes]
    pairs = list(zip(mine, CLASSES, strict=True))
    return RangeCounted(
        sigma_index=sigma_index,
        phase="estimation",
        start=start,
        stop=stop,
        counts=tuple(tuple(int((v == c).sum()) for c in range(k)) for v, k in pairs),
        ambiguous=tuple(int((v == NO_VOTE).sum()) for v in mine),
        votes=tuple(encode_votes(v) for v in mine),
    )


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[list[int]], list[CountRange]]:
    """Votes on two ballots, and a cut of them."""
    n = draw(st.integers(1, 80))
    votes = [draw(st.lists(st.integers(NO_VOTE, k - 1), min_size=n, max_size=n)) for k in CLASSES]
    wanted = CountRange(sigma_index=0, phase="estimation", start=0, stop=n)
    return votes, list(cut(wanted, draw(st.integers(1, n))))


def drain(merge: RangeMerge) -> list[RangeCounted]:
    return list(iter(merge.deliver, None))


@given(streams())
def test_parts_joined_are_the_whole(stream):
    votes, pieces = stream
    parts = [count(votes, piece.start, piece.stop) for piece in pieces]
    assert join_parts(parts) == count(votes, 0, len(votes[0]))


@given(streams(), st.data())
def test_ranges_come_out_once_in_order_and_as_early_as_they_can(stream, data):
    votes, pieces = stream
    merge = RangeMerge()
    merge.expect(CountRange(sigma_index=0, phase="estimation", start=0, stop=len(votes[0])))
    arriving = data.draw(st.permutations(pieces + data.draw(st.lists(st.sampled_from(pieces)))))
    out: list[RangeCounted] = []
    arrived: set[int] = set()
    for piece in arriving:
        assert not merge.add(count(votes, piece.start, piece.stop))
        arrived.add(piece.start)
        out += drain(merge)
        complete = next((i for i, p in enumerate(pieces) if p.start not in arrived), len(pieces))
        assert len(out) == complete
    assert out == [count(votes, piece.start, piece.stop) for piece in pieces]
    assert all(before.stop == after.start for before, after in pairwise(out))


@given(streams(), streams(), st.data())
def test_samples_that_copies_disagree_on_are_doubted_and_ambiguous(stream, other, data):
    votes, pieces = stream
    n = len(votes[0])
    others = [[ballot[i % len(ballot)] for i in range(n)] for ballot in other[0]]
    twice = data.draw(st.sets(st.sampled_from([piece.start for piece in pieces])))
    merge = RangeMerge()
    merge.expect(CountRange(sigma_index=0, phase="estimation", start=0, stop=n))
    disagreements: set[Disagreement] = set()
    for piece in pieces:
        assert not merge.add(count(votes, piece.start, piece.stop))
        if piece.start in twice:
            disagreements |= merge.add(count(others, piece.start, piece.stop))
    differing = {
        Disagreement(0, "estimation", ballot, sample)
        for piece in pieces
        if piece.start in twice
        for ballot in range(2)
        for sample in range(piece.start, piece.stop)
        if votes[ballot][sample] != others[ballot][sample]
    }
    assert disagreements == differing
    assert not any(map(merge.was_delivered, disagreements))
    found = join_parts(drain(merge))
    assert found == count(masked(votes, disagreements), 0, n)
    assert all(map(merge.was_delivered, disagreements))
    for counts, ambiguous in zip(found.counts, found.ambiguous, strict=True):
        assert Tally(counts=counts, ambiguous=ambiguous).n == n  # n never shrinks


def masked(votes: list[list[int]], disagreements: set[Disagreement]) -> list[list[int]]:
    return [
        [
            NO_VOTE if Disagreement(0, "estimation", b, i) in disagreements else v
            for i, v in enumerate(ballot)
        ]
        for b, ballot in enumerate(votes)
    ]


@given(streams(), st.data())
def test_known_doubts_are_ambiguous_whatever_is_counted(stream, data):
    votes, pieces = stream
    n = len(votes[0])
    some = st.tuples(st.integers(0, 1), st.integers(0, n - 1))
    disagreements = {Disagreement(0, "estimation", *where) for where in data.draw(st.sets(some))}
    elsewhere = {Disagreement(1, "estimation", 0, 0), Disagreement(0, "selection", 0, 0)}
    merge = RangeMerge(disagreements | elsewhere)
    merge.expect(CountRange(sigma_index=0, phase="estimation", start=0, stop=n))
    for piece in pieces:
        merge.add(count(votes, piece.start, piece.stop))
    assert join_parts(drain(merge)) == count(masked(votes, disagreements), 0, n)


def test_what_one_of_two_alike_hosts_calls_ambiguous_is_ambiguous_without_an_alarm():
    """Where the vote was passed on already it stands: a vote of either f is that of f itself."""
    votes = [[0, 1, 0, 1], [2, 0, 1, 1]]
    near = [[0, NO_VOTE, 0, 1], [2, 0, NO_VOTE, 1]]
    pieces = [(0, 2), (2, 4)]
    merge = RangeMerge()
    merge.expect(CountRange(sigma_index=0, phase="estimation", start=0, stop=4))
    for start, stop in pieces:
        assert not merge.add(count(votes, start, stop), "one")
    first = merge.deliver()
    for start, stop in pieces:
        assert not merge.add(count(near, start, stop), "alike")
    assert first == count(votes, 0, 2)
    assert merge.deliver() == count(near, 2, 4)
    contradicted = merge.add(count([[0, 0, 1, 1], votes[1]], 2, 4), "third")
    assert contradicted == {Disagreement(0, "estimation", 0, 2)}
