"""A routed certificate speaks of the whole pipeline, and never beyond its true radius."""

import copy
import json
from decimal import Decimal

import numpy as np
import pytest
import torch
from two_prompt_toy import TwoPromptVLM

from models.catalogue.cards import ModelCard, Preprocessing, WeightFile
from models.testing import LinearModel
from worker.certification import audit_certificate
from worker.contract import (
    BankTemplate,
    CertifyRequest,
    InputImage,
    ModelRef,
    RoutedTarget,
    StagedParameters,
    TemplateTarget,
)
from worker.contract.certificate.document import find_scope, parse_document
from worker.contract.image import image_sha256
from worker.counting.certify import certify
from worker.counting.records.protocol import Unrecorded
from worker.counting.reproduce import reproduce
from worker.counting.roll import Roll
from worker.engine.engine import Engine
from worker.engine.local import LocalCounter
from worker.engine.shelf.shelf import Shelf

SIZE = 8
SECRET = b"s" * 32
CLASSES = ("benign", "malignant")


def create_card() -> ModelCard:
    return ModelCard(
        id="two-prompts",
        name="Toy",
        description="Planes.",
        intended_use="Tests.",
        licence="Apache-2.0",
        source="tests/two_prompt_toy.py",
        architecture="linear",
        files=(WeightFile(name="none", sha256="0" * 64, size_bytes=1),),
        context_length=77,
        preprocessing=Preprocessing(size=SIZE, mean=(0, 0, 0), std=(1, 1, 1)),
        class_names=CLASSES,
        template="A {}",
    )


def create_plane(seed: int, image: np.ndarray, distance: float) -> LinearModel:
    """A plane with random integer weights, `distance` beyond the image."""
    weight = np.random.default_rng(seed).integers(-3, 4, (3, SIZE, SIZE))
    reach = distance * 255 * np.sqrt((weight**2).sum())
    return LinearModel(weight=weight, threshold=int((weight * image).sum() + reach) + 0.5)


def create_engine(image: np.ndarray, *, choice: float, under_a: float, under_b: float) -> Engine:
    """An image at these distances from the three planes; negative: the image lies beyond."""
    vlm = TwoPromptVLM(
        card=create_card(),
        choice=create_plane(1, image, choice),
        classes={"A": create_plane(2, image, under_a), "B": create_plane(3, image, under_b)},
        device=torch.device("cpu"),
    )
    return Engine(Shelf.holding([vlm]))


BANK = RoutedTarget(bank=(BankTemplate(template="A {}"), BankTemplate(template="B {}")),
                    class_names=CLASSES)  # fmt: skip


def run(engine: Engine, image: np.ndarray, *targets, sigmas=("0.25",), **staged):
    card = create_card()
    request = CertifyRequest(
        input=InputImage(sha256=image_sha256(image), height=SIZE, width=SIZE, source="png"),
        model=ModelRef(id=card.id, sha256=card.sha256),
        targets=targets,
        sigmas=tuple(map(Decimal, sigmas)),
        procedure=StagedParameters(**({"n_max": 4000, "tolerance": Decimal(0)} | staged)),
    )
    return certify(
        Roll(request, SECRET),
        image,
        counter=LocalCounter(engine),
        records=Unrecorded(),
    )


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(60, 200, (3, SIZE, SIZE)).astype(np.uint8)


@pytest.mark.parametrize("choice", [0.1, 0.3, 0.6])
@pytest.mark.parametrize("under_a", [0.15, 0.5])
def test_the_radius_is_below_the_true_one_of_the_pipeline(image, choice, under_a):
    """Beyond the choice's plane prompt B rules, which says the other class."""
    engine = create_engine(image, choice=choice, under_a=under_a, under_b=-1.0)
    (entry,) = run(engine, image, BANK).certificates
    assert entry.guarantee_scope == "routed_pipeline"
    assert entry.outcome == "certified"
    assert (entry.prediction, entry.routing.selected_index) == ("benign", 0)
    true = min(choice, under_a)
    assert 0.6 * true < float(entry.radius) < true


def test_a_frozen_prompt_s_radius_is_wrong_for_a_pipeline_that_chooses(image):
    """The fault that routed mends: a prompt chosen on the image, then certified as if fixed."""
    engine = create_engine(image, choice=0.1, under_a=0.6, under_b=-0.6)
    frozen, routed = run(
        engine, image, TemplateTarget(template="A {}", class_names=CLASSES), BANK
    ).certificates
    (model,) = engine._shelf.list_loaded()
    vlm = model.vlm
    across = step_across(vlm.choice, image, by=0.08)
    moved = np.linalg.norm((across - image.astype(int)) / 255)
    (there,) = run(engine, across, BANK).certificates
    assert moved < 0.25
    assert (there.prediction, there.routing.selected_index) == ("malignant", 1)
    assert float(frozen.radius) > moved > float(routed.radius)


def step_across(plane: LinearModel, image: np.ndarray, *, by: float) -> np.ndarray:
    """The image moved along the plane's normal until it lies that far beyond."""
    normal = plane.weight / np.linalg.norm(plane.weight)
    for step in np.linspace(0, 200, 2000):
        moved = np.rint(image + step * normal).astype(np.int64)
        if plane.margin(moved) > 0 and plane.distance(moved) > by:
            return moved.astype(np.uint8)
    raise AssertionError("the plane is out of reach")


def test_a_choice_that_is_not_constant_abstains(image):
    engine = create_engine(image, choice=0.0, under_a=0.6, under_b=0.6)
    (entry,) = run(engine, image, BANK).certificates
    assert entry.outcome == "abstained"
    assert entry.routing.selector.outcome == "abstained"
    assert entry.stopped_by == "selector_abstained"
    assert "choice among 2 prompts" in entry.statement
    assert audit(entry_document(run(engine, image, BANK))).holds


def test_a_class_that_is_not_constant_abstains(image):
    engine = create_engine(image, choice=0.6, under_a=0.0, under_b=0.6)
    (entry,) = run(engine, image, BANK).certificates
    assert entry.outcome == "abstained"
    assert entry.routing.selector.outcome == "certified"


def test_each_claim_has_half_of_alpha(image):
    """All votes agree, so both bounds are those of n of n at alpha/2, by the staged schedule."""
    from worker.certification import certify_staged

    engine = create_engine(image, choice=3.0, under_a=3.0, under_b=3.0)
    (entry,) = run(engine, image, BANK, n_max=64).certificates
    expected = certify_staged([(64, 0)], sigma=0.25, alpha=0.0005, n_max=64)
    assert float(entry.radius) == pytest.approx(expected.radius, abs=2e-6)
    assert entry.routing.selector.radius == entry.radius


def test_sampling_ends_when_no_prompt_can_be_chosen(image):
    engine = create_engine(image, choice=0.0, under_a=0.01, under_b=0.6)
    (entry,) = run(engine, image, BANK, n_max=100_000, target_radius="0.2").certificates
    assert entry.n_used == entry.routing.selector.looks[-1].n < 2000


def entry_document(result) -> dict:
    return json.loads(result.model_dump_json())


def audit(document: dict):
    return audit_certificate(document)


@pytest.fixture(scope="module")
def document(image) -> dict:
    engine = create_engine(image, choice=0.3, under_a=0.5, under_b=-1.0)
    return entry_document(run(engine, image, BANK, sigmas=("0.25", "0.5")))


def test_the_audit_of_a_routed_certificate_holds(document):
    found = audit(document)
    assert found.holds, [f.sentence for f in found.findings if not f.holds]
    assert any("prompt 0 of the bank has the votes" in f.sentence for f in found.findings)


def forge(document: dict, change) -> dict:
    forged = copy.deepcopy(document)
    change(forged["certificates"][0])
    return forged


def select_the_other(entry):
    entry["routing"]["selected_index"] = 1


def raise_the_selector_s_radius(entry):
    entry["routing"]["selector"]["radius"] += 1e-6


def raise_the_radius(entry):
    entry["radius"] += 1e-6


def take_the_classifier_s_radius(entry):
    """What the classifier alone would give, as if nothing had been chosen."""
    entry["radius"] *= 1.2


def drop_a_selector_look(entry):
    entry["routing"]["selector"]["looks"].pop()


def change_a_selector_count(entry):
    last = entry["routing"]["selector"]["looks"][-1]
    last["counts"][0] += 1


def widen_the_bank(entry):
    entry["routing"]["bank"].append({"template": "C {}"})


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (select_the_other, "selector"),
        (raise_the_selector_s_radius, "selector"),
        (raise_the_radius, "radius"),
        (take_the_classifier_s_radius, "radius"),
        (drop_a_selector_look, "selector"),
        (change_a_selector_count, "counts"),
        (widen_the_bank, "selector"),
    ],
)
def test_a_forged_choice_fails_the_audit(document, change, code):
    found = audit(forge(document, change))
    assert code in {finding.code for finding in found.findings if not finding.holds}


def test_a_routed_certificate_is_reproduced_selector_and_all(image, document):
    engine = create_engine(image, choice=0.3, under_a=0.5, under_b=-1.0)
    findings = reproduce(parse_document(document), image, LocalCounter(engine))
    assert all(f.holds for f in findings)
    assert "every single vote" in findings[1].sentence
    forged = forge(document, lambda e: e["routing"]["selector"]["votes_root"].update(
        estimation="0" * 64))  # fmt: skip
    assert [f.holds for f in reproduce(parse_document(forged), image, LocalCounter(engine))] == [
        True,
        False,
        True,
    ]


def test_another_scope_than_the_prompting_s_is_no_document(document):
    forged = forge(document, lambda entry: entry.update(guarantee_scope="global_prompt"))
    with pytest.raises(ValueError, match="no finished certification"):
        parse_document(forged)


def test_no_prompting_covers_tuning_inside_every_sample():
    promptings = ("template", "few-shot", "zero-shot", "few-shot+zero-shot", "routed")
    assert "joint_pipeline" not in {find_scope(prompting, None) for prompting in promptings}
