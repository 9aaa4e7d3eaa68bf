"""Merged ranges say what the whole would have said, and never more."""

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.certification import (
    Abstained,
    Certified,
    Outcome,
    Tally,
    certify_cohen,
    certify_staged,
    plan_looks,
)
from worker.certification.merkle import NO_VOTE
from worker.certification.ranges import RangeLedger, RangesOverlap, RangeVotes

K = 3
ALPHA, SIGMA = 0.001, 0.5


def tally_of(votes: list[int]) -> Tally:
    counts = tuple(votes.count(c) for c in range(K))
    return Tally(counts=counts, ambiguous=votes.count(NO_VOTE))


def split(n: int, shard: int) -> list[range]:
    return [range(start, min(start + shard, n)) for start in range(0, n, shard)]


def count(start: int, votes: list[int], num_classes: int = K) -> RangeVotes:
    return RangeVotes(start=start, votes=tuple(votes), num_classes=num_classes)


def part(votes: list[int], piece: range) -> RangeVotes:
    return count(piece.start, votes[piece.start : piece.stop])


def fill(votes: list[int], pieces: list[range]) -> RangeLedger:
    ledger = RangeLedger(K)
    for piece in pieces:
        ledger.add(part(votes, piece))
    return ledger


def lose(ledger: RangeLedger, piece: range) -> None:
    """Contradicts every vote of a range, so that all its samples are ambiguous."""
    held = ledger.find_votes(piece.start)
    assert held is not None
    ledger.add(count(piece.start, [(vote + 1) % K for vote in held]))


def merged(ledger: RangeLedger, pieces: list[range]) -> list[int]:
    """The single votes of a complete prefix."""
    held = [ledger.find_votes(piece.start) for piece in pieces]
    return [vote for votes in held for vote in votes or ()]


def some_votes(least: int = 1, most: int = 200) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(NO_VOTE, K - 1), min_size=least, max_size=most)


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[int], list[range]]:
    """Votes, and a split of them."""
    votes = draw(some_votes())
    return votes, split(len(votes), draw(st.integers(1, len(votes) + 3)))


# --- Any order, any split, any duplicates ----------------------------------------------------


@given(streams(), st.randoms(use_true_random=False))
def test_any_order_split_and_duplicates_give_the_votes_of_the_whole(stream, random):
    votes, pieces = stream
    arrivals = [*pieces, *random.choices(pieces, k=len(pieces))]
    random.shuffle(arrivals)
    ledger, here = RangeLedger(K), set()
    for piece in arrivals:
        assert (ledger.find_votes(piece.start) is not None) == (piece.start in here)
        assert ledger.add(part(votes, piece)) == ()
        here.add(piece.start)
        assert ledger.find_votes(piece.start) == part(votes, piece).votes  # early as at the end
    assert merged(ledger, pieces) == votes
    tallies = [Tally.of_votes(part(votes, piece).votes, K) for piece in pieces]
    assert sum(tallies, Tally.empty(K)) == tally_of(votes)


# --- Doubt -----------------------------------------------------------------------------------


def test_votes_that_disagree_are_told_and_their_samples_ambiguous_for_ever():
    pieces = split(10, 5)
    ledger = fill([0] * 10, pieces)
    assert ledger.add(count(5, [0, 1, 0, 2, 0])) == (6, 8)
    assert tally_of(merged(ledger, pieces)) == Tally(counts=(8, 0, 0), ambiguous=2)
    assert ledger.add(count(5, [0] * 5)) == ()
    assert tally_of(merged(ledger, pieces)) == Tally(counts=(8, 0, 0), ambiguous=2)
    assert ledger.add(count(5, [NO_VOTE, 0, 0, 0, 0])) == (5, 6, 8)
    assert tally_of(merged(ledger, pieces)) == Tally(counts=(7, 0, 0), ambiguous=3)


def test_the_same_tally_from_other_votes_disagrees():
    ledger = fill([0, 1, 1], [range(3)])
    assert ledger.add(count(0, [1, 0, 1])) == (0, 1)
    assert merged(ledger, [range(3)]) == [NO_VOTE, NO_VOTE, 1]


@given(st.lists(some_votes(4, 4), min_size=1, max_size=4), st.data())
def test_what_a_ledger_says_does_not_depend_on_the_order_of_disagreeing_copies(copies, data):
    ledgers = []
    for order in (copies, data.draw(st.permutations(copies))):
        ledgers.append(RangeLedger(K))
        doubtful: set[int] = set()
        ambiguous: set[int] = set()
        for votes in order:
            found = set(ledgers[-1].add(count(0, votes)))
            assert not found or found >= doubtful
            doubtful |= found
            now = merged(ledgers[-1], [range(4)])
            assert len(now) == 4
            assert all(vote in (NO_VOTE, votes[i]) for i, vote in enumerate(now))
            assert all(now[sample] == NO_VOTE for sample in ambiguous | doubtful)
            ambiguous = {sample for sample, vote in enumerate(now) if vote == NO_VOTE}
    assert merged(ledgers[0], [range(4)]) == merged(ledgers[1], [range(4)])


# --- Loss ------------------------------------------------------------------------------------


def radius(outcome: Outcome) -> float:
    return outcome.radius if isinstance(outcome, Certified) else 0.0


def mostly_first(shares: tuple[float, float], n: int, seed: int) -> list[int]:
    """Votes: about shares[0] for the first class, shares[1] for the second, the rest the third."""
    draw = Random(seed)
    return [
        0 if (u := draw.random()) < shares[0] else 1 if u < sum(shares) else 2 for _ in range(n)
    ]


@given(
    st.sampled_from([(0.99, 0.01), (0.8, 0.1), (0.5, 0.3), (0.4, 0.5)]),
    st.integers(0, 1000),
    st.sampled_from([300, 700]),
    st.data(),
)
def test_losing_ranges_never_raises_the_radius_of_staged(shares, seed, n_max, data):
    votes = mostly_first(shares, n_max, seed)
    looks = [look.n for look in plan_looks(ALPHA, n_max)]
    pieces = split(n_max, data.draw(st.integers(20, n_max)))
    losing = fill(votes, pieces)
    for piece in data.draw(st.sets(st.sampled_from(pieces))):
        lose(losing, piece)
    whole, found = staged(votes, looks), staged(merged(losing, pieces), looks)
    assert radius(found) <= radius(whole)
    if isinstance(found, Certified) and isinstance(whole, Certified):
        assert found.top_class == whole.top_class


def staged(votes: list[int], looks: list[int]) -> Outcome:
    tallies = [tally_of(votes[:look]) for look in looks]
    assert tallies[-1].n == looks[-1] == len(votes)
    assert all(later.continues(earlier) for earlier, later in pairwise(tallies))
    return certify_staged(
        [tally.counts for tally in tallies],
        sigma=SIGMA,
        alpha=ALPHA,
        n_max=looks[-1],
        ambiguous=[tally.ambiguous for tally in tallies],
    )


@given(some_votes(50, 200), st.integers(1, 60), st.data())
def test_losing_estimation_ranges_never_raises_the_radius_of_cohen(votes, shard, data):
    n = len(votes)
    pieces = split(n, shard)
    losing, lost_all = fill(votes, pieces), fill(votes, pieces)
    for piece in data.draw(st.sets(st.sampled_from(pieces))):
        lose(losing, piece)
    for piece in pieces:
        lose(lost_all, piece)
    assert tally_of(merged(losing, pieces)).n == n
    assert radius(cohen(merged(losing, pieces))) <= radius(cohen(votes))
    assert isinstance(cohen(merged(lost_all, pieces)), Abstained)


def cohen(votes: list[int]) -> Outcome:
    estimation = tally_of(votes)
    return certify_cohen(
        (20, 0, 0),
        estimation.counts,
        sigma=SIGMA,
        alpha=ALPHA,
        ambiguous=estimation.ambiguous,
    )


# --- What is refused -------------------------------------------------------------------------


@pytest.mark.parametrize(("start", "stop"), [(0, 4), (0, 6), (3, 7), (5, 9), (6, 8), (2, 12)])
def test_ranges_that_overlap_and_are_not_the_same_are_refused(start, stop):
    ledger = fill([0] * 10, split(10, 5))
    with pytest.raises(RangesOverlap):
        ledger.add(count(start, [0] * (stop - start)))
    assert merged(ledger, split(10, 5)) == [0] * 10


def test_votes_that_do_not_fit_their_range_or_ledger_are_refused():
    with pytest.raises(ValueError, match="class below 3"):
        count(0, [3])
    with pytest.raises(ValueError, match="0 votes"):
        count(0, [])
    with pytest.raises(ValueError, match="from sample -1"):
        count(-1, [0])
    with pytest.raises(ValueError, match="over 3 classes, got one over 2"):
        RangeLedger(K).add(count(0, [0], num_classes=2))


# --- Two f whose difference tau covers -------------------------------------------------------


@pytest.mark.parametrize(
    ("copies", "contradicted"),
    [
        ([("one", 0), ("other", 0)], False),
        ([("one", 0), ("other", NO_VOTE)], False),
        ([("one", NO_VOTE), ("other", 2), ("third", NO_VOTE)], False),
        ([("one", 0), ("one", NO_VOTE)], True),
        ([("one", 0), ("other", 1)], True),
        ([("one", 0), ("other", NO_VOTE), ("third", 1)], True),
        ([("one", NO_VOTE), ("other", 0), ("one", 0)], True),
    ],
)
def test_copies_contradict_where_one_f_counted_both_or_two_classes_are_voted_for(
    copies, contradicted
):
    """A sample that one f alone calls ambiguous is as tau has it: ambiguous, and no alarm."""
    ledger = RangeLedger(K)
    told = [
        ledger.add(RangeVotes(start=7, votes=(1, vote, 2), num_classes=K, f=f))
        for f, vote in copies
    ]
    assert told[0] == ()
    assert any(told) == contradicted
    assert told[-1] == ((8,) if contradicted else ())
    differing = len({vote for _, vote in copies}) > 1
    assert ledger.find_votes(7) == (1, NO_VOTE if differing else 0, 2)
