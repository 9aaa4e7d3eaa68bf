"""The terms of honest runs, by every prompting and beside baselines, are their question's."""

from decimal import Decimal

import pytest
import torch

from models.catalogue import load_catalogue
from models.loading.loading import load_vlm
from models.prompts.catalogue import load_prompt_catalogue
from worker.contract import (
    BankTemplate,
    FewShotTarget,
    FewShotZeroShotTarget,
    PromptRef,
    RoutedTarget,
    StagedParameters,
    TemplateTarget,
    Tuning,
    ZeroShotTarget,
)
from worker.evaluation.dossier.terms import find_other_term, names_f
from worker.evaluation.evaluate import evaluate
from worker.evaluation.loaded.baselines import Baseline
from worker.evaluation.run_file import RUN_FILE, RunFile

RADII = (Decimal(0),)


def read(asked):
    with RunFile(asked.folder / RUN_FILE) as run:
        return run.question, list(run.images.values())


@pytest.fixture
def compared(create_evaluation, linear_vlm, tilted_vlm):
    """A run with two baselines, one of which is another model."""
    baselines = (
        Baseline(name="denoised", sigma=Decimal("0.1"), vlm=linear_vlm),
        Baseline(name="noise-trained", sigma=Decimal("0.25"), vlm=tilted_vlm),
    )
    asked = create_evaluation(images=2, baselines=baselines)
    evaluate(asked, radii=RADII)
    return read(asked)


def test_a_run_with_baselines_answers_its_question(compared):
    question, images = compared
    assert [find_other_term(question, image) for image in images] == [None, None]
    assert names_f(question, images)


def test_a_baseline_is_the_one_that_the_question_names(compared):
    question, (image, other) = compared
    one, two = question.baselines
    assert one.identity.model != two.identity.model
    for baselines, term in (((), "model"), ((two, one), "model"), ((one,), "model")):
        asked = question.model_copy(update={"baselines": baselines})
        assert find_other_term(asked, image) == term
    noisier = one.model_copy(update={"sigma": Decimal("0.25")})
    asked = question.model_copy(update={"baselines": (noisier, two)})
    assert find_other_term(asked, image) == "sigma"
    elsewhere = one.identity.model_copy(update={"device": "another"})
    renamed = one.model_copy(update={"identity": elsewhere})
    assert not names_f(question.model_copy(update={"baselines": (renamed, two)}), [image])
    mixed = image.model_copy(update={"baselines": other.baselines})
    assert find_other_term(question, mixed) == "image"


def test_a_certificate_left_out_is_missed(compared):
    question, (image, _) = compared
    fewer = image.result.model_copy(update={"certificates": image.result.certificates[:1]})
    cut = image.model_copy(update={"result": fewer})
    assert find_other_term(question, cut) == "number of certificates"


@pytest.fixture
def prompted(create_evaluation):
    """A run of one image by every prompting, with tuning and a procedure that are not the usual."""
    card, prompt = load_prompt_catalogue(None).get("bundled-2-bccd-cells").load()
    catalogue = load_catalogue(None)
    vlm = load_vlm(catalogue.get("bundled-2"), catalogue.folder("bundled-2"), torch.device("cpu"))
    ref = PromptRef(id=card.id, sha256=card.sha256, method=card.method)
    template, names = "a slide with a {}", {"class_names": card.class_names}
    tuning = Tuning(copies=4, steps=2)
    targets = (
        TemplateTarget(template=template, **names),
        FewShotTarget(prompt=ref, **names),
        ZeroShotTarget(template=template, tuning=tuning, **names),
        FewShotZeroShotTarget(prompt=ref, tuning=tuning, **names),
        RoutedTarget(bank=(BankTemplate(template=template), ref), **names),
    )
    procedure = StagedParameters(n_max=64, target_radius=Decimal("0.01"), n_cap=256)
    asked = create_evaluation(
        images=1,
        vlm=vlm,
        targets=targets,
        sigmas=(Decimal("0.1"),),
        procedure=procedure,
        prompts={card.sha256: prompt},
    )
    evaluate(asked, radii=RADII)
    return read(asked)


def test_every_prompting_is_the_one_asked_for(prompted):
    question, (image,) = prompted
    assert find_other_term(question, image) is None
    assert names_f(question, [image])
    template, learned, zero_shot, both, routed = question.targets
    other = learned.prompt.model_copy(update={"sha256": "0" * 64})
    for place, changed, term in (
        (0, zero_shot, "prompting"),
        (0, template.model_copy(update={"template": "a {}"}), "template"),
        (1, learned.model_copy(update={"prompt": other}), "prompt"),
        (1, learned.model_copy(update={"class_names": ("a", "b", "c")}), "class_names"),
        (2, zero_shot.model_copy(update={"tuning": Tuning(copies=4)}), "tuning"),
        (2, zero_shot.model_copy(update={"template": "a {}"}), "template"),
        (3, both.model_copy(update={"prompt": other}), "prompt"),
        (3, both.model_copy(update={"tuning": Tuning()}), "tuning"),
        (4, routed.model_copy(update={"bank": routed.bank[::-1]}), "bank"),
    ):
        targets = (*question.targets[:place], changed, *question.targets[place + 1 :])
        assert find_other_term(question.model_copy(update={"targets": targets}), image) == term


def test_a_procedure_is_all_its_parameters(prompted):
    question, (image,) = prompted
    for name, value in (
        ("target_radius", None),
        ("minimum_radius", Decimal("0.01")),
        ("n_cap", None),
        ("n_max", 100),
        ("tolerance", Decimal("0.1")),
        ("continuations", 1),
    ):
        procedure = question.procedure.model_copy(update={name: value})
        asked = question.model_copy(update={"procedure": procedure})
        assert find_other_term(asked, image) == name
