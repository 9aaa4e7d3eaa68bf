"""Questions about f beside sessions: right answers, and a turn between batches."""

import numpy as np
import pytest
import torch

from worker.contract import ModelRef, protocol
from worker.engine.engine import Engine
from worker.engine.local import LocalCounter
from worker.engine.probing import SLICE_ROWS
from worker.engine.shelf.refusal import SessionNotServed
from worker.sampling.words import NoiseKey

KEY = NoiseKey(1, 2)


@pytest.fixture
def ask(engine: Engine, cards, create_request):
    """A question of either kind about an image, under a model's own template."""

    def create(kind, model="bundled-2", **changes):
        card = cards[model]
        size = card.preprocessing.size
        text = protocol.TemplateText(template=card.template, class_names=card.class_names)
        fields = {
            "model": ModelRef(id=model, sha256=card.sha256),
            "height": size,
            "width": size,
            "text": text,
        }
        return kind(**fields | changes)

    return create


def create_image(cards, model="bundled-2", seed=0) -> np.ndarray:
    size = cards[model].preprocessing.size
    return np.random.default_rng(seed).integers(40, 210, (3, size, size)).astype(np.uint8)


def noise(start: int, stop: int) -> protocol.ProbeNoise:
    return protocol.ProbeNoise(sigma="0.25", low=KEY.low, high=KEY.high, start=start, stop=stop)


def test_a_gradient_is_the_slope_of_the_margin(engine, cards, ask):
    """Between two images a little apart in its direction, the logits say the same."""
    image = create_image(cards)
    model = engine._shelf.list_loaded()[0]
    taken = LocalCounter(engine).take_gradient(ask(protocol.TakeGradient, class_index=0), image)
    gradient = taken.decode(*image.shape[1:])
    text = ask(protocol.TakeGradient, class_index=0).text
    classifier = model.classifiers.find_or_create(text, None)
    unit = gradient / np.linalg.norm(gradient)

    def margin(step: float) -> float:
        levels = torch.from_numpy((image + step * unit)[None]).to(torch.float32)
        with torch.no_grad():
            logits = classifier.logits(model.vlm.encode_levels(levels))[0]
        return float(logits[0] - logits[1:].max())

    slope = (margin(2.0) - margin(-2.0)) / 4.0
    assert slope == pytest.approx(float(np.linalg.norm(gradient)), rel=0.1)


def test_the_gradient_over_noise_is_the_mean_of_its_parts(engine, cards, ask):
    """However the copies are asked for: each belongs to its sample alone."""
    image, prober = create_image(cards), LocalCounter(engine)

    def take(start: int, stop: int) -> protocol.GradientTaken:
        wanted = ask(protocol.TakeGradient, class_index=0, noise=noise(start, stop))
        return prober.take_gradient(wanted, image)

    whole = take(0, SLICE_ROWS + 4)
    parts = [take(0, SLICE_ROWS), take(SLICE_ROWS, SLICE_ROWS + 4)]
    shares = [SLICE_ROWS, 4]
    mean = sum(
        share * part.decode(*image.shape[1:]) for share, part in zip(shares, parts, strict=True)
    ) / sum(shares)
    found = whole.decode(*image.shape[1:])
    assert np.linalg.norm(found - mean) <= 1e-3 * np.linalg.norm(mean)
    assert whole.counts == tuple(map(sum, zip(*(p.counts for p in parts), strict=True)))


def test_plain_answers_are_those_of_f_at_its_own_batch_shape(engine, cards, ask):
    images = np.stack([create_image(cards, seed=seed) for seed in range(70)])
    prober = LocalCounter(engine)
    votes = prober.classify(ask(protocol.ClassifyImages, images=70), images).votes
    one_by_one = [
        prober.classify(ask(protocol.ClassifyImages, images=1), image[None]).votes[0]
        for image in images[[0, 63, 64, 69]]
    ]
    assert len(votes) == 70
    assert one_by_one == [votes[place] for place in (0, 63, 64, 69)]


def test_questions_take_one_slice_between_two_batches_of_votes(engine, cards, ask, create_request):
    """A long question does not hold up a session: each step starts a batch of it."""
    request, image = create_request("bundled-2")
    batch, counted = cards["bundled-2"].batch_size["cpu"], []
    text = ask(protocol.ClassifyImages, images=1).text
    session = engine.open(
        protocol.OpenSession(
            model=request.model,
            height=image.shape[1],
            width=image.shape[2],
            sigmas=request.sigmas,
            ballots=((protocol.ClassBallot(text=text),),),
            keys=(protocol.PhaseKey(phase="estimation", low=3, high=4),),
        ),
        image,
        counted.append,
    )
    answers: list[protocol.Answer] = []
    slices = 3
    wanted = ask(protocol.TakeGradient, class_index=0, noise=noise(0, slices * SLICE_ROWS))
    engine.probe(wanted, image[None], answers.append)
    engine.request(
        session,
        protocol.CountRange(sigma_index=0, phase="estimation", start=0, stop=2 * batch),
    )
    seen = []
    while engine.step():
        seen.append((len(counted), len(answers)))
    engine.close(session)
    assert seen == [(1, 0), (2, 0), (2, 1)]


def test_a_class_that_is_not_there_is_refused_and_the_model_given_back(engine, cards, ask):
    image = create_image(cards)
    taken = engine._shelf._places.find("bundled-2").taken
    with pytest.raises(SessionNotServed):
        LocalCounter(engine).take_gradient(ask(protocol.TakeGradient, class_index=99), image)
    assert engine._shelf._places.find("bundled-2").taken == taken
    assert engine.step() is False
