"""A witness on a model whose true distances are known, and on the model that ships."""

from decimal import Decimal
from itertools import pairwise

import numpy as np
import pytest
import torch

from models.loading.loading import load_vlm
from models.testing import create_linear_model, write_linear_model
from worker.attack.watched import TimeEnded
from worker.attack.witness import Found, find_witness
from worker.contract import CertifyRequest, InputImage, ModelRef, StagedParameters, TemplateTarget
from worker.contract.image import image_sha256
from worker.contract.witness import Changed, NotAsked, WitnessSettings
from worker.counting.certify import certify
from worker.counting.records.protocol import Unrecorded
from worker.counting.roll import Roll
from worker.engine.engine import Engine
from worker.engine.local import LocalCounter
from worker.engine.shelf.shelf import Shelf

SECRET = b"s" * 32
SIGMA = Decimal("0.25")
SETTINGS = WitnessSettings(steps=12, copies=4, votes=1000)
SIZE = 8


class Recording(LocalCounter):
    """Remembers what was asked of the engine."""

    def __init__(self, engine):
        super().__init__(engine)
        self.sessions, self.gradients, self.counted = [], [], []

    def open(self, session, image):
        self.sessions.append(session)
        return super().open(session, image)

    def count(self, wanted):
        (key,) = {
            (one.low, one.high) for one in self.sessions[-1].keys if one.phase == wanted.phase
        }
        self.counted.append((key, wanted.start, wanted.stop))
        super().count(wanted)

    def take_gradient(self, wanted, image):
        self.gradients.append(wanted)
        return super().take_gradient(wanted, image)


@pytest.fixture(scope="module")
def plane():
    return create_linear_model(size=SIZE)


@pytest.fixture(scope="module")
def linear(plane, tmp_path_factory):
    folder = tmp_path_factory.mktemp("linear")
    card = write_linear_model(folder, plane, model_id="plane")
    vlm = load_vlm(card, folder / "plane", torch.device("cpu"))
    return card, Engine(Shelf.holding([vlm]))


def create_image(plane, *, distance: float) -> np.ndarray:
    """An image of the first class about as far from the plane."""
    weight = plane.weight.astype(float)
    unit = weight / np.linalg.norm(weight)
    centre = np.full(plane.weight.shape, 127.0)
    centre += unit * (plane.threshold - (weight * centre).sum()) / np.linalg.norm(weight)
    return np.rint(centre - 255 * distance * unit).astype(np.uint8)


def certify_image(linear, image, *, n_max=1000, sigmas=(SIGMA,), alpha="0.001"):
    card, engine = linear
    request = CertifyRequest(
        input=InputImage(sha256=image_sha256(image), height=SIZE, width=SIZE, source="png"),
        model=ModelRef(id=card.id, sha256=card.sha256),
        targets=(TemplateTarget(template=card.template, class_names=card.class_names),),
        sigmas=sigmas,
        procedure=StagedParameters(n_max=n_max),
        alpha=Decimal(alpha),
    )
    roll, prober = Roll(request, SECRET), Recording(engine)
    return roll, certify(roll, image, counter=prober, records=Unrecorded()), prober


def attack(roll, result, image, prober, **changes) -> Found:
    arguments = {"find_prompt": lambda _: None, "settings": SETTINGS} | changes
    return find_witness(result, image, roll, prober=prober, **arguments)


def test_the_witness_lies_at_the_boundary_that_geometry_gives(plane, linear):
    """The truth is the distance to the plane: the radius lies below, both witnesses just above."""
    image = create_image(plane, distance=0.4)
    truth = plane.distance(image)
    roll, result, prober = certify_image(linear, image)
    found = attack(roll, result, image, prober)
    (one,) = found.witness.witnesses
    assert isinstance(one.smoothed, Changed)
    assert isinstance(one.undefended, Changed)
    assert float(one.radius) <= truth
    assert truth <= float(one.smoothed.distance) <= 1.3 * truth
    assert truth <= float(one.undefended.distance) <= 1.1 * truth
    assert not one.alarm
    assert one.smoothed.prediction == one.undefended.prediction == "above"
    assert "The truth lies between." in one.statement


def test_a_distance_is_that_of_the_image_that_is_kept(plane, linear):
    image = create_image(plane, distance=0.4)
    roll, result, prober = certify_image(linear, image)
    found = attack(roll, result, image, prober)
    (one,) = found.witness.witnesses
    for change in (one.smoothed, one.undefended):
        kept = found.images[change.image_sha256]
        assert kept.dtype == np.uint8
        assert image_sha256(kept) == change.image_sha256
        difference = kept.astype(float) - image.astype(float)
        assert float(change.distance) == pytest.approx(np.linalg.norm(difference) / 255, abs=2e-6)
        assert plane.class_index(kept) == 1


def test_no_noise_of_the_certificate_is_drawn_for_a_witness(plane, linear):
    """Not for the search, not for the votes shown; nor does the search see the noise of these."""
    image = create_image(plane, distance=0.4)
    roll, result, prober = certify_image(linear, image)
    of_certificate = {(one.low, one.high) for session in prober.sessions for one in session.keys}
    prober.sessions.clear()
    found = attack(roll, result, image, prober)
    counted = {(one.low, one.high) for session in prober.sessions for one in session.keys}
    taken = {(one.noise.low, one.noise.high) for one in prober.gradients if one.noise is not None}
    assert of_certificate == set(map(tuple, roll.keys.values()))
    assert counted == {tuple(roll.attack_key), tuple(roll.witness_key)}
    assert taken == {tuple(roll.attack_key)}
    assert not (counted | taken) & of_certificate
    assert tuple(roll.tuning_key) not in counted | taken
    assert found.witness.noise_key == roll.witness_key.text


def test_no_sample_of_the_search_is_drawn_twice(plane, linear):
    image = create_image(plane, distance=0.4)
    roll, result, prober = certify_image(linear, image)
    attack(roll, result, image, prober)
    steps = [(one.noise.start, one.noise.stop) for one in prober.gradients if one.noise is not None]
    votes = [span for key, *span in prober.counted if key == tuple(roll.attack_key)]
    assert min(len(steps), len(votes)) > 1
    spans = sorted([*steps, *map(tuple, votes)])
    assert all(first[1] <= second[0] for first, second in pairwise(spans))


def test_the_same_roll_finds_the_same_witness(plane, linear):
    image = create_image(plane, distance=0.4)
    roll, result, prober = certify_image(linear, image)
    first, second = (attack(roll, result, image, prober).witness for _ in range(2))
    assert first.witnesses == second.witnesses


def test_a_witness_changes_nothing_of_the_certification(plane, linear):
    """Certified again after it, the request has the very same document."""
    image = create_image(plane, distance=0.4)
    roll, result, prober = certify_image(linear, image)
    attack(roll, result, image, prober)
    _, again, _ = certify_image(linear, image)
    assert again == result


def test_a_radius_beyond_the_boundary_raises_the_alarm(plane, linear):
    """A document that claims more than the truth is found out, and the sentence says so."""
    image = create_image(plane, distance=0.3)
    roll, result, prober = certify_image(linear, image)
    claimed = result.certificates[0].model_copy(update={"radius": Decimal("0.9")})
    lying = result.model_copy(update={"certificates": (claimed,)})
    found = attack(roll, lying, image, prober)
    assert found.witness.alarm
    assert found.witness.witnesses[0].statement.startswith("ALARM.")


def test_an_abstention_has_no_smoothed_answer_to_change(plane, linear):
    image = create_image(plane, distance=0.002)
    roll, result, prober = certify_image(linear, image, n_max=64)
    assert result.certificates[0].outcome == "abstained"
    (one,) = attack(roll, result, image, prober).witness.witnesses
    assert one.smoothed == NotAsked(reason="abstained")
    assert one.radius is None
    assert isinstance(one.undefended, Changed)


def test_time_that_ends_is_said_and_hides_nothing(plane, linear):
    image = create_image(plane, distance=0.4)
    roll, result, prober = certify_image(linear, image, sigmas=(SIGMA, Decimal("0.5")))
    questions = 0

    def end_soon() -> None:
        nonlocal questions
        questions += 1
        if questions > 30 + SETTINGS.steps:
            raise TimeEnded

    found = attack(roll, result, image, prober, on_step=end_soon)
    assert len(found.witness.witnesses) == 2
    last = found.witness.witnesses[-1]
    assert last.smoothed == NotAsked(reason="time_ended")
    assert "ended with its time" in last.statement
    assert prober._engine.step() is False  # nothing is left behind in the engine


def test_the_undefended_model_is_attacked_once_for_all_noise_levels(plane, linear):
    image = create_image(plane, distance=0.4)
    roll, result, prober = certify_image(linear, image, sigmas=(SIGMA, Decimal("0.5")))
    found = attack(roll, result, image, prober)
    first, second = found.witness.witnesses
    assert first.undefended == second.undefended
    plain = [one for one in prober.gradients if one.noise is None]
    assert len(plain) == SETTINGS.steps + 1
