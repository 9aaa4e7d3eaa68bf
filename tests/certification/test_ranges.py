"""Merged ranges say what the whole would have said, and never more."""

from itertools import pairwise
from random import Random

import pytest
from hypothesis import assume, given
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
from worker.certification.ranges import Arrival, RangeLedger, RangesOverlap, RangeVotes, split

K = 3
ALPHA, SIGMA = 0.001, 0.5


def tally_of(votes: list[int]) -> Tally:
    counts = tuple(votes.count(c) for c in range(K))
    return Tally(counts=counts, ambiguous=votes.count(NO_VOTE))


def part(votes: list[int], piece: range, *, tell_votes: bool = True) -> RangeVotes:
    mine = votes[piece.start : piece.stop]
    if tell_votes:
        return RangeVotes.of_votes(piece.start, mine, K)
    return RangeVotes(start=piece.start, stop=piece.stop, tally=tally_of(mine))


def fill(votes: list[int], pieces: tuple[range, ...]) -> RangeLedger:
    ledger = RangeLedger(K)
    for piece in pieces:
        ledger.add(part(votes, piece))
    return ledger


def some_votes(least: int = 1, most: int = 200) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(NO_VOTE, K - 1), min_size=least, max_size=most)


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[int], tuple[int, ...], tuple[range, ...]]:
    """Votes, looks among them, and a split that respects the looks."""
    votes = draw(some_votes())
    n = len(votes)
    looks = tuple(sorted(draw(st.sets(st.integers(1, n), max_size=5))))
    return votes, looks, split(n, draw(st.integers(1, n + 3)), looks)


# --- The cut ---------------------------------------------------------------------------------


@given(streams())
def test_a_split_covers_every_sample_once_and_has_a_border_at_every_look(stream):
    votes, looks, pieces = stream
    assert [i for piece in pieces for i in piece] == list(range(len(votes)))
    assert {0, *looks, len(votes)} <= {piece.start for piece in pieces} | {pieces[-1].stop}


def test_a_split_has_ranges_of_the_size_asked_for_and_shorter_ones_before_a_look():
    assert split(20, 8, (10,)) == (range(0, 8), range(8, 10), range(10, 18), range(18, 20))
    assert split(64, 64, (64,)) == (range(0, 64),)
    assert split(5, 100, ()) == (range(0, 5),)


@pytest.mark.parametrize(
    ("n_total", "shard", "looks"),
    [(0, 1, ()), (10, 0, ()), (10, 5, (0, 4)), (10, 5, (4, 4)), (10, 5, (6, 4)), (10, 5, (11,))],
)
def test_a_split_that_cannot_be_is_refused(n_total, shard, looks):
    with pytest.raises(ValueError, match="must"):
        split(n_total, shard, looks)


# --- Any order, any split, any duplicates ----------------------------------------------------


@given(streams(), st.randoms(use_true_random=False), st.booleans())
def test_any_order_split_and_duplicates_give_the_tallies_of_the_whole(stream, random, tell_votes):
    votes, looks, pieces = stream
    arrivals = [*pieces, *random.choices(pieces, k=len(pieces))]
    random.shuffle(arrivals)
    ledger = RangeLedger(K)
    found = [ledger.add(part(votes, piece, tell_votes=tell_votes)) for piece in arrivals]
    assert found.count(Arrival.COUNTED) == len(pieces)
    assert found.count(Arrival.REPEATED) == len(arrivals) - len(pieces)
    assert not ledger.alarms
    for n in (0, *looks, len(votes)):
        assert ledger.prefix(n) == tally_of(votes[:n])


@given(streams(), st.randoms(use_true_random=False))
def test_a_prefix_appears_with_its_last_range_and_not_before(stream, random):
    votes, _, pieces = stream
    order = list(pieces)
    random.shuffle(order)
    ledger, here = RangeLedger(K), set()
    for piece in order:
        ledger.add(part(votes, piece))
        here.add(piece.start)
        for border in pieces:
            complete = all(p.start in here for p in pieces if p.start < border.stop)
            if border.start in here:  # else `stop` may not be a border yet
                assert (ledger.prefix(border.stop) is not None) == complete


@given(streams(), st.data())
def test_a_certificate_does_not_depend_on_crashes_retries_or_shards(stream, data):
    """Looks taken as soon as they are complete are those taken at the end."""
    votes, looks, pieces = stream
    assume(looks)
    ledger, early = RangeLedger(K), {}
    for piece in data.draw(st.permutations([*pieces, *pieces])):
        ledger.add(part(votes, piece))
        for look in looks:
            if look == piece.stop and (tally := ledger.prefix(look)) is not None:
                early[look] = tally
    final = [ledger.prefix(look) for look in looks]
    assert all(early.get(look, tally) == tally for look, tally in zip(looks, final, strict=True))
    assert final == [tally_of(votes[:look]) for look in looks]


# --- Doubt -----------------------------------------------------------------------------------


def test_votes_that_disagree_are_an_alarm_and_their_samples_ambiguous_for_ever():
    ledger = fill([0] * 10, split(10, 5, ()))
    assert ledger.add(RangeVotes.of_votes(5, [0, 1, 0, 2, 0], K)) is Arrival.DISAGREES
    assert [(a.start, a.stop, a.doubtful) for a in ledger.alarms] == [(5, 10, (6, 8))]
    assert ledger.prefix(10) == Tally(counts=(8, 0, 0), ambiguous=2)
    assert ledger.add(RangeVotes.of_votes(5, [0] * 5, K)) is Arrival.REPEATED
    assert ledger.prefix(10) == Tally(counts=(8, 0, 0), ambiguous=2)
    assert ledger.add(RangeVotes.of_votes(5, [NO_VOTE, 0, 0, 0, 0], K)) is Arrival.DISAGREES
    assert ledger.prefix(10) == Tally(counts=(7, 0, 0), ambiguous=3)


def test_tallies_that_disagree_make_the_whole_range_ambiguous():
    ledger = fill([0] * 10, split(10, 5, ()))
    other = RangeVotes(start=0, stop=5, tally=Tally(counts=(4, 1, 0)))
    assert ledger.add(other) is Arrival.DISAGREES
    assert ledger.alarms[0].doubtful == (0, 1, 2, 3, 4)
    assert ledger.prefix(10) == Tally(counts=(5, 0, 0), ambiguous=5)


def test_the_same_tally_from_other_votes_is_an_alarm():
    ledger = RangeLedger(K)
    ledger.add(RangeVotes.of_votes(0, [0, 1, 1], K))
    assert ledger.add(RangeVotes.of_votes(0, [1, 0, 1], K)) is Arrival.DISAGREES
    assert ledger.prefix(3) == Tally(counts=(0, 1, 0), ambiguous=2)


@given(st.lists(some_votes(4, 4), min_size=1, max_size=4), st.data())
def test_what_a_ledger_says_does_not_depend_on_the_order_of_disagreeing_copies(copies, data):
    told = [data.draw(st.booleans()) for _ in copies]
    arrivals = [
        part(votes, range(4), tell_votes=tell) for votes, tell in zip(copies, told, strict=True)
    ]
    ledgers = []
    for order in (arrivals, data.draw(st.permutations(arrivals))):
        ledgers.append(RangeLedger(K))
        ambiguous = 0
        for votes in order:
            ledgers[-1].add(votes)
            now = ledgers[-1].prefix(4)
            assert now is not None
            assert now.n == 4
            assert now.ambiguous >= ambiguous
            ambiguous = now.ambiguous
    assert ledgers[0].prefix(4) == ledgers[1].prefix(4)
    assert ledgers[0].alarms == ledgers[1].alarms


# --- Loss ------------------------------------------------------------------------------------


@pytest.mark.parametrize("late", [False, True])
def test_a_lost_range_is_ambiguous_whenever_its_votes_come(late):
    ledger = fill([0] * 5, (range(0, 5),))
    votes = RangeVotes.of_votes(5, [1] * 3, K)
    if late:
        ledger.lost(5, 8)
        assert ledger.add(votes) is Arrival.LOST
    else:
        ledger.add(votes)
        ledger.lost(5, 8)
    assert ledger.prefix(8) == Tally(counts=(5, 0, 0), ambiguous=3)
    assert not ledger.alarms


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
    pieces = split(n_max, data.draw(st.integers(20, n_max)), looks)
    whole = staged(fill(votes, pieces), looks)
    losing = fill(votes, pieces)
    for piece in data.draw(st.sets(st.sampled_from(pieces))):
        losing.lost(piece.start, piece.stop)
    found = staged(losing, looks)
    assert radius(found) <= radius(whole)
    if isinstance(found, Certified) and isinstance(whole, Certified):
        assert found.top_class == whole.top_class


def staged(ledger: RangeLedger, looks: list[int]) -> Outcome:
    tallies = [tally for look in looks if (tally := ledger.prefix(look)) is not None]
    assert len(tallies) == len(looks)
    assert all(later.continues(earlier) for earlier, later in pairwise(tallies))
    return certify_staged(
        [tally.counts for tally in tallies],
        sigma=SIGMA,
        alpha=ALPHA,
        n_max=looks[-1],
        ambiguous=[tally.ambiguous for tally in tallies],
    )


@given(streams(), st.data())
def test_single_votes_of_ranges_add_up_to_the_prefix_whatever_came(stream, data):
    votes, _, pieces = stream
    ledger = fill(votes, pieces)
    for piece in data.draw(st.sets(st.sampled_from(pieces))):
        if data.draw(st.booleans()):
            ledger.lost(piece.start, piece.stop)
        else:
            other = data.draw(st.lists(st.integers(NO_VOTE, K - 1), min_size=1))
            copy = [other[i % len(other)] for i in range(len(piece))]
            ledger.add(RangeVotes.of_votes(piece.start, copy, K))
    single = [vote for piece in pieces for vote in ledger.find_votes(piece.start) or ()]
    assert tally_of(single) == ledger.prefix(len(votes))
    doubtful = {sample for alarm in ledger.alarms for sample in alarm.doubtful}
    assert all(single[sample] == NO_VOTE for sample in doubtful)
    assert all(vote in (NO_VOTE, votes[i]) for i, vote in enumerate(single))
    assert ledger.find_votes(len(votes)) is None


@given(some_votes(50, 200), st.integers(1, 60), st.data())
def test_losing_estimation_ranges_never_raises_the_radius_of_cohen(votes, shard, data):
    n = len(votes)
    pieces = split(n, shard, ())
    losing = fill(votes, pieces)
    for piece in data.draw(st.sets(st.sampled_from(pieces))):
        losing.lost(piece.start, piece.stop)
    outcomes = [cohen(ledger.prefix(n)) for ledger in (fill(votes, pieces), losing)]
    assert radius(outcomes[1]) <= radius(outcomes[0])
    lost_all = fill(votes, pieces)
    for piece in pieces:
        lost_all.lost(piece.start, piece.stop)
    assert isinstance(cohen(lost_all.prefix(n)), Abstained)


def cohen(estimation: Tally | None) -> Outcome:
    assert estimation is not None
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
    ledger = fill([0] * 10, split(10, 5, ()))
    with pytest.raises(RangesOverlap):
        ledger.add(RangeVotes.of_votes(start, [0] * (stop - start), K))
    with pytest.raises(RangesOverlap):
        ledger.lost(start, stop)
    assert ledger.prefix(10) == Tally(counts=(10, 0, 0))


def test_a_look_inside_a_range_is_refused():
    ledger = fill([0] * 10, split(10, 5, ()))
    with pytest.raises(RangesOverlap, match="border"):
        ledger.prefix(7)


def test_votes_that_do_not_fit_their_range_or_ledger_are_refused():
    with pytest.raises(ValueError, match=r"4 votes for samples 0 \.\. 4"):
        RangeVotes(start=0, stop=5, tally=Tally(counts=(4, 0, 0)))
    with pytest.raises(ValueError, match="add up"):
        RangeVotes(start=0, stop=2, tally=Tally(counts=(1, 1, 0)), votes=(0, 0))
    with pytest.raises(ValueError, match="class below 3"):
        RangeVotes.of_votes(0, [3], K)
    with pytest.raises(ValueError, match="not empty"):
        RangeVotes.of_votes(0, [], K)
    with pytest.raises(ValueError, match="3 classes"):
        RangeLedger(K).add(RangeVotes(start=0, stop=2, tally=Tally(counts=(1, 1))))
    with pytest.raises(ValueError, match="negative"):
        RangeLedger(K).prefix(-1)
