"""Votes depend on (key, sample index) and f alone."""

import math
from functools import partial

import numpy as np
import pytest
import torch

from worker.certification import Phase
from worker.certification.merkle import NO_VOTE
from worker.contract import BankTemplate, RoutedTarget, StagedParameters, TemplateTarget
from worker.contract.protocol import CountRange, OpenSession, RangeCounted
from worker.contract.request import canonical_bytes
from worker.counting.sessions import NOTHING_TUNED, create_session
from worker.engine.engine import Engine
from worker.engine.runner.batch import Batch
from worker.engine.shelf.refusal import SessionNotServed
from worker.engine.voting import choose_clear
from worker.sampling.keys import derive_key

SECRET = b"s" * 32


def open_spec(request, **changes) -> OpenSession:
    canonical = canonical_bytes(request.identity())
    phases: tuple[Phase, ...] = ("selection", "estimation")
    keys = {phase: derive_key(SECRET, canonical, phase) for phase in phases}
    made = create_session(request, {}, NOTHING_TUNED, keys)
    return OpenSession.model_validate(made.model_dump() | changes)


def count_in_chunks(engine: Engine, request, image, *, n: int, chunk: int) -> list[int]:
    """Counts of samples 0 .. n - 1, each chunk in a batch of its own, padded."""
    counted: list[RangeCounted] = []
    session = engine.open(open_spec(request), image, counted.append)
    for start in range(0, n, chunk):
        stop = min(n, start + chunk)
        engine.request(
            session, CountRange(sigma_index=0, phase="estimation", start=start, stop=stop)
        )
        while engine.step():
            pass
    engine.close(session)
    assert [c.start for c in counted] == sorted(c.start for c in counted)
    return np.sum([c.counts[0] for c in counted], axis=0).tolist()


@pytest.mark.parametrize(
    ("model", "n", "chunks"),
    [
        ("linear", 256, (1, 7, 64, 256)),
        ("bundled-2", 256, (64, 256)),
        ("bundled-2", 40, (1, 7, 40)),
    ],
)
def test_counts_do_not_depend_on_the_chunk_size(engine, create_request, model, n, chunks):
    request, image = create_request(model, sigmas=["0.5"])
    counts = [count_in_chunks(engine, request, image, n=n, chunk=chunk) for chunk in chunks]
    assert sum(counts[0]) == n
    assert all(other == counts[0] for other in counts)


def test_counts_do_not_depend_on_the_company_of_other_sessions(engine, create_request):
    request, image = create_request("bundled-2", sigmas=["0.5"])
    alone = count_in_chunks(engine, request, image, n=100, chunk=100)
    mine: list[RangeCounted] = []
    others: list[RangeCounted] = []
    session = engine.open(open_spec(request), image, mine.append)
    company = [
        engine.open(open_spec(create_request("bundled-2", seed=seed)[0]), image, others.append)
        for seed in (1, 2)
    ] + [engine.open(open_spec(create_request()[0]), create_request()[1], others.append)]
    for one in [*company, session]:
        wanted = CountRange(sigma_index=0, phase="estimation", start=0, stop=100)
        engine.request(one, wanted)
    while engine.step():
        pass
    for one in [*company, session]:
        engine.close(one)
    assert np.sum([c.counts[0] for c in mine], axis=0).tolist() == alone
    assert len({c.stop - c.start for c in mine}) >= 1
    assert sum(c.stop - c.start for c in others) == 300


def test_a_small_session_is_not_stuck_behind_a_large_one(engine, create_request):
    request, image = create_request()
    order: list[str] = []
    large = engine.open(open_spec(request), image, lambda _: order.append("large"))
    engine.request(large, CountRange(sigma_index=0, phase="estimation", start=0, stop=10_000))
    small = engine.open(open_spec(request), image, lambda _: order.append("small"))
    engine.request(small, CountRange(sigma_index=0, phase="estimation", start=0, stop=30))
    for _ in range(3):
        engine.step()
    engine.close(large)
    engine.close(small)
    assert "small" in order


def count_with_company(engine, create_request, *, urgent: bool, steps: int) -> dict[str, int]:
    """Samples counted by then for a session and three others, all with more to count than that."""
    request, image = create_request()
    counted = dict.fromkeys(("one", "others"), 0)

    def add(name: str, answer: RangeCounted) -> None:
        counted[name] += answer.stop - answer.start

    others = [
        engine.open(open_spec(create_request(seed=seed)[0]), image, partial(add, "others"))
        for seed in (1, 2, 3)
    ]
    one = engine.open(open_spec(request, urgent=urgent), image, partial(add, "one"))
    for session in (*others, one):
        wanted = CountRange(sigma_index=0, phase="estimation", start=0, stop=10_000)
        engine.request(session, wanted)
    for _ in range(steps):
        engine.step()
    for session in (*others, one):
        engine.close(session)
    return counted


def test_an_urgent_session_has_three_batches_of_four_and_the_others_go_on(engine, create_request):
    """A session gets an equal share of a batch unless it is urgent."""
    usual = count_with_company(engine, create_request, urgent=False, steps=8)
    assert usual["others"] == 3 * usual["one"]
    urgent = count_with_company(engine, create_request, urgent=True, steps=8)
    assert sum(urgent.values()) == sum(usual.values())
    assert urgent["others"] == usual["others"] / 4


def test_an_urgent_session_s_model_is_next_though_another_s_was_first(engine, create_request):
    bundled, image = create_request("bundled-2")
    linear, small = create_request()
    order: list[str] = []
    first = engine.open(open_spec(bundled), image, lambda _: order.append("first"))
    urgent = engine.open(open_spec(linear, urgent=True), small, lambda _: order.append("urgent"))
    for session in (first, urgent):
        wanted = CountRange(sigma_index=0, phase="estimation", start=0, stop=10_000)
        engine.request(session, wanted)
    for _ in range(8):
        engine.step()
    for session in (first, urgent):
        engine.close(session)
    assert (order.count("first"), order.count("urgent")) == (2, 6)


def test_counts_do_not_depend_on_urgency(engine, create_request):
    request, image = create_request("bundled-2", sigmas=["0.5"])
    alone = count_in_chunks(engine, request, image, n=100, chunk=100)
    counted: list[RangeCounted] = []
    urgent = engine.open(open_spec(request, urgent=True), image, counted.append)
    other = engine.open(open_spec(create_request("bundled-2", seed=1)[0]), image, lambda _: None)
    for session in (other, urgent):
        wanted = CountRange(sigma_index=0, phase="estimation", start=0, stop=100)
        engine.request(session, wanted)
    while engine.step():
        pass
    for session in (other, urgent):
        engine.close(session)
    assert np.sum([one.counts[0] for one in counted], axis=0).tolist() == alone


def test_a_closed_session_gets_no_more_votes(engine, create_request):
    request, image = create_request()
    counted: list[RangeCounted] = []
    session = engine.open(open_spec(request), image, counted.append)
    engine.request(session, CountRange(sigma_index=0, phase="estimation", start=0, stop=1000))
    engine.step()
    engine.close(session)
    before = len(counted)
    assert not engine.step()
    assert len(counted) == before


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"model": {"id": "other", "sha256": "0" * 64}}, "model_not_served"),
        ({"model": {"id": "linear", "sha256": "0" * 64}}, "model_changed"),
        ({"height": 8, "width": 8}, "image_size_wrong"),
    ],
)
def test_what_cannot_be_served_is_refused_with_a_sentence(engine, create_request, change, code):
    request, image = create_request()
    with pytest.raises(SessionNotServed) as caught:
        engine.open(open_spec(request, **change), image, lambda _: None)
    assert caught.value.failure.code == code
    assert str(caught.value)


def test_a_text_longer_than_the_context_is_refused_and_not_cut_off(engine, create_request):
    long = TemplateTarget(template="A {} image.", class_names=("lung " * 200, "colon"))
    request, image = create_request("bundled-2", targets=(long,))
    with pytest.raises(SessionNotServed) as caught:
        engine.open(open_spec(request), image, lambda _: None)
    assert caught.value.failure.code == "text_unusable"


def test_names_with_the_same_tokens_are_refused_and_named(engine, create_request):
    alike = TemplateTarget(template="A {} image.", class_names=("x & y", "lung", "x &amp; y"))
    request, image = create_request("bundled-2", targets=(alike,))
    with pytest.raises(SessionNotServed, match="reads 'x & y' and 'x &amp; y' alike") as caught:
        engine.open(open_spec(request), image, lambda _: None)
    assert caught.value.failure.code == "text_unusable"


def test_prompts_of_a_bank_with_the_same_tokens_are_refused_and_named(engine, create_request):
    bank = tuple(BankTemplate(template=one) for one in ("A {}.", "An {} image.", "an {}  Image."))
    routed = RoutedTarget(bank=bank, class_names=("lung", "colon"))
    staged = StagedParameters(n_max=300)
    request, image = create_request("bundled-2", targets=(routed,), procedure=staged)
    with pytest.raises(SessionNotServed, match=r"reads 'An \{\} .*' and 'an .*' alike") as caught:
        engine.open(open_spec(request), image, lambda _: None)
    assert caught.value.failure.code == "text_unusable"


def test_text_features_are_computed_once_per_text(engine, create_request):
    request, _ = create_request("bundled-2")
    spec = open_spec(request)
    classifiers = next(
        m.classifiers for m in engine._shelf.list_loaded() if m.vlm.card.id == "bundled-2"
    )
    text = spec.ballots[0][0].text
    first = classifiers.find_or_create(text, None)
    assert classifiers.find_or_create(text.model_copy(), None) is first


def test_unsafe_votes_are_no_votes():
    """Ties, near ties, NaN and infinities count for nobody (CERTIFICATE 4)."""
    logits = torch.tensor(
        [
            [1.0, 2.0, 0.0],
            [2.0, 2.0, 0.0],
            [2.0, 1.9, 0.0],
            [math.nan, 2.0, 0.0],
            [math.inf, 2.0, 0.0],
            [3.0, 2.0, -math.inf],
        ]
    )
    assert choose_clear(logits, 0.0).tolist() == [1, NO_VOTE, 0, NO_VOTE, NO_VOTE, NO_VOTE]
    assert choose_clear(logits, 0.2).tolist() == [1, NO_VOTE, NO_VOTE, NO_VOTE, NO_VOTE, NO_VOTE]


class Third:
    num_options = 3

    def __init__(self, key: str = "third") -> None:
        self.key, self.asked = (key,), 0

    def vote(self, image_features):
        self.asked += 1
        return torch.full((len(image_features),), 2)


def test_a_sample_with_undecided_noise_votes_for_nobody():
    batch = Batch(torch.zeros(3, 4), torch.tensor([False, True, False]))
    place = batch.cast(Third())
    batch.send()
    batch.wait()
    assert batch.votes(place).tolist() == [2, NO_VOTE, 2]


def test_voters_that_are_alike_are_asked_once_a_batch():
    batch = Batch(torch.zeros(3, 4), torch.zeros(3, dtype=torch.bool))
    first, alike, other = Third(), Third(), Third("other")
    places = [batch.cast(voter) for voter in (first, alike, other, alike)]
    assert places == [0, 0, 1, 0]
    assert (first.asked, alike.asked, other.asked) == (1, 0, 1)


def test_identity_names_everything_that_moves_logits(engine):
    for identity in engine.status().models:
        assert identity.batch_size == 64
        assert identity.precision == "fp32"
        assert identity.device_class == "cpu"
        assert identity.threads == torch.get_num_threads()
        assert identity.versions["torch"] == torch.__version__
