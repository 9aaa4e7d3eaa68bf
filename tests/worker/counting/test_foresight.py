"""Samples counted early: they fill batches and enter no decision that should not see them."""

from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest

from models.vlm.linear_toy import LinearVLM
from worker.contract import ModelRef, StagedParameters
from worker.contract.protocol import CountRange, RangeCounted
from worker.contract.votes import encode_votes
from worker.counting.certify import certify
from worker.counting.contests import create_contests
from worker.counting.prefetch import Prefetch
from worker.counting.prefixes import Board
from worker.counting.records.protocol import Unrecorded
from worker.counting.roll import Roll
from worker.counting.sessions import NOTHING_TUNED, create_session
from worker.engine.engine import Engine
from worker.engine.local import LocalCounter
from worker.engine.shelf.loaded_model import hold_model
from worker.engine.shelf.shelf import Shelf

SECRET = b"s" * 32


class Recorder:
    """A counter that remembers what was counted; `blind`, it names nothing early.

    From `spoil_from` on, votes at the first noise level are other ones than the engine counted.
    """

    def __init__(
        self, engine: Engine, *, blind: bool = False, spoil_from: int | None = None
    ) -> None:
        self._counter, self._blind, self._spoil_from = LocalCounter(engine), blind, spoil_from
        self._wanted: dict[tuple[int, str], int] = {}
        self.open, self.counted = self._counter.open, []

    @property
    def early(self) -> int:
        """Samples that were counted and never asked for."""
        return sum(c.stop - c.start for c in self.counted if not self._was_wanted(c))

    def _was_wanted(self, counted: RangeCounted) -> bool:
        return counted.stop <= self._wanted.get((counted.sigma_index, counted.phase), 0)

    def count(self, wanted: CountRange) -> None:
        self._wanted[wanted.sigma_index, wanted.phase] = wanted.stop
        self._counter.count(wanted)

    def prefetch(self, likely: CountRange) -> None:
        if not self._blind:
            self._counter.prefetch(likely)

    def receive(self) -> RangeCounted:
        counted = self._counter.receive()
        self.counted.append(counted)
        spoiled = self._spoil_from is not None and counted.sigma_index == 0
        if spoiled and counted.start >= self._spoil_from:
            return turn_over(counted)
        return counted


def turn_over(counted: RangeCounted) -> RangeCounted:
    """All votes for the class with the fewest."""
    n = counted.stop - counted.start
    least = [min(range(len(c)), key=c.__getitem__) for c in counted.counts]
    return counted.model_copy(
        update={
            "counts": tuple(
                tuple(n if i == low else 0 for i in range(len(c)))
                for c, low in zip(counted.counts, least, strict=True)
            ),
            "ambiguous": (0,) * len(least),
            "votes": tuple(encode_votes(np.full(n, low)) for low in least),
        }
    )


def create_engine(linear_vlm: LinearVLM, *, batches_ahead: int) -> Engine:
    shelf = Shelf.holding([])
    shelf._put(replace(hold_model(linear_vlm), batches_ahead=batches_ahead))
    return Engine(shelf)


@pytest.fixture(scope="module")
def wide(engine) -> LinearVLM:
    """The linear model with room for three looks in a batch."""
    (vlm,) = [m.vlm for m in engine._shelf.list_loaded() if m.identity.model.id == "linear"]
    card = vlm.card.model_copy(update={"batch_size": {"cpu": 256, "cuda": 256}})
    return LinearVLM(card=card, weight=vlm.weight, threshold=vlm.threshold, device=vlm.device)


@pytest.fixture
def ask(wide, create_request):
    """Requests on it."""

    def asked(**changes):
        request, image = create_request(**changes)
        model = ModelRef(id=wide.card.id, sha256=wide.card.sha256)
        return request.model_copy(update={"model": model}), image

    return asked


def run(counter, request, image):
    return certify(Roll(request, SECRET), image, counter=counter, records=Unrecorded())


@pytest.mark.parametrize("batches_ahead", [0, 1])
@pytest.mark.parametrize("n_max", [100, 777, 3000])
def test_certificates_are_those_without_foresight(wide, ask, n_max, batches_ahead):
    engine = create_engine(wide, batches_ahead=batches_ahead)
    early = 0
    for seed in range(3):
        procedure = StagedParameters(n_max=n_max, target_radius=Decimal("0.01"))
        request, image = ask(seed=seed, sigmas=["0.1", "0.5", "2"], procedure=procedure)
        blind, counter = Recorder(engine, blind=True), Recorder(engine)
        assert run(counter, request, image) == run(blind, request, image)
        early += counter.early
    assert n_max == 100 or early > 0  # samples that no look came to were counted


@pytest.mark.parametrize("batches_ahead", [0, 1])
def test_votes_that_are_never_asked_for_decide_nothing(wide, ask, batches_ahead):
    """Whatever they are: here they contradict all others."""
    engine = create_engine(wide, batches_ahead=batches_ahead)
    procedure = StagedParameters(n_max=3000, target_radius=Decimal("0.01"))
    request, image = ask(sigmas=["0.01", "2"], procedure=procedure)
    expected = run(Recorder(engine, blind=True), request, image)
    used, more = (certificate.n_used for certificate in expected.certificates)
    assert used < 256 < more  # so that the early votes of the first level come, and are held
    counter = Recorder(engine, spoil_from=used)
    assert run(counter, request, image) == expected
    assert counter.early > 0


def test_a_range_is_given_on_when_it_is_asked_for_and_not_before(wide, ask):
    request, image = ask()
    counter = Recorder(create_engine(wide, batches_ahead=0))
    counter.open(open_spec(request), image)
    votes = Prefetch(counter)
    votes.count(CountRange(sigma_index=0, phase="estimation", start=0, stop=10))
    for start, stop in ((10, 30), (30, 60)):
        likely = CountRange(sigma_index=0, phase="estimation", start=start, stop=stop, ahead=True)
        votes.prefetch(likely)
    assert votes.receive().stop == 10
    with pytest.raises(LookupError):  # counted in the same batch, and not asked for
        votes.receive()
    assert [c.stop for c in counter.counted] == [10, 30, 60]
    votes.count(CountRange(sigma_index=0, phase="estimation", start=10, stop=30))
    votes.count(CountRange(sigma_index=0, phase="estimation", start=30, stop=80))
    assert [votes.receive().stop for _ in range(3)] == [30, 60, 80]


def open_spec(request):
    return create_session(request, {}, NOTHING_TUNED, Roll(request, SECRET).keys)


def test_foreseen_ranges_end_at_looks_and_are_named_once(create_request):
    request, _ = create_request(procedure=StagedParameters(n_max=1000))
    board = Board(request, create_contests(request), "roll")
    assert list(board.prefetchable(256)) == []  # nothing before a stream has begun
    (wanted,) = board.wanted()
    assert (wanted.start, wanted.stop) == (0, 64)
    assert [(r.start, r.stop) for r in board.prefetchable(256)] == [
        (64, 128),
        (128, 256),
        (256, 320),
    ]
    assert list(board.prefetchable(256)) == []
    assert all(r.ahead for r in board.prefetchable(300))
