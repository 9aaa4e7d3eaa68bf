"""Baselines beside the promptings of a run: the same images, the same noise, another f."""

import json
from decimal import Decimal

import pytest

from models.catalogue.cards import Preprocessing
from worker.contract import CohenParameters
from worker.contract.certificate.audit import audit_document
from worker.contract.certificate.signature import create_signing_key, encode_public_key
from worker.evaluation.evaluate import evaluate
from worker.evaluation.loaded.baselines import Baseline, NotComparable, check_comparable
from worker.evaluation.run_file import RUN_FILE, RunNotContinued
from worker.sampling.table import create_noise_table

RADII = (Decimal(0), Decimal("0.1"))
SIGMAS = (Decimal("0.1"), Decimal("0.25"))


def create_baselines(vlm, name="denoised") -> tuple[Baseline, ...]:
    return tuple(Baseline(name=name, sigma=sigma, vlm=vlm) for sigma in SIGMAS)


def run(asked):
    return evaluate(asked, radii=RADII)


def read_lines(asked) -> list[dict]:
    return [json.loads(line) for line in (asked.folder / RUN_FILE).read_text().splitlines()[1:]]


def test_the_model_as_its_own_baseline_repeats_the_template_on_the_same_noise(
    create_evaluation, linear_vlm
):
    """Equal votes, sample by sample: the Merkle roots of the two rows are equal."""
    asked = create_evaluation(images=6, baselines=create_baselines(linear_vlm))
    results = run(asked)
    assert [arm.label for arm in results.arms] == ["template", "denoised"] * 2
    for template, baseline in (results.arms[:2], results.arms[2:]):
        assert baseline.radii_by_image == template.radii_by_image
        assert baseline.clean == template.clean
        assert {at.paired.p_value for at in baseline.at_radius} == {1.0}
        assert template.at_radius[0].paired is None
    for line in read_lines(asked):
        for level, document in enumerate(line["baselines"]):
            (baseline,) = document["certificates"]
            template = line["result"]["certificates"][level]
            assert baseline["votes_root"] == template["votes_root"]
            assert baseline["sigma"] == template["sigma"]
            assert (
                document["provenance"]["noise_keys"] == line["result"]["provenance"]["noise_keys"]
            )


def test_a_baseline_is_judged_by_its_own_model(create_evaluation, tilted_vlm):
    """A certificate of it names its digest, can be audited, and holds for its own plane."""
    asked = create_evaluation(images=4, baselines=create_baselines(tilted_vlm))
    results = run(asked)
    assert {arm.model.id for arm in results.arms if arm.baseline} == {"tilted"}
    assert {arm.model.id for arm in results.arms if not arm.baseline} == {"linear"}
    key = encode_public_key(create_signing_key(b"e" * 32).public_key())
    for line in read_lines(asked):
        for document in line["baselines"]:
            assert document["model"]["sha256"] == tilted_vlm.card.sha256
            report = audit_document(document, (key,), lambda s: create_noise_table(s).sha256)
            assert [finding.sentence for finding in report.findings if not finding.holds] == []
    assert results.cost.samples == 4 * 2 * 2 * 850, "the baselines' passes are counted too"


def test_a_run_is_not_continued_with_another_baseline(create_evaluation, linear_vlm, tilted_vlm):
    run(create_evaluation(images=2))
    for baselines in (create_baselines(tilted_vlm), create_baselines(linear_vlm)):
        with pytest.raises(RunNotContinued, match="different set of baselines"):
            run(create_evaluation(images=2, baselines=baselines))


def test_a_baseline_belongs_to_a_noise_level_of_the_run(create_evaluation, linear_vlm):
    one = Baseline(name="denoised", sigma=Decimal("0.7"), vlm=linear_vlm)
    with pytest.raises(ValueError, match="one model for each noise level"):
        run(create_evaluation(images=2, baselines=(one,)))
    twice = create_baselines(linear_vlm)[:1] * 2
    with pytest.raises(ValueError, match="one model for each noise level"):
        run(create_evaluation(images=2, baselines=twice, procedure=CohenParameters(n0=9, n=9)))


def test_a_model_that_prepares_images_in_another_way_is_no_baseline(linear_vlm):
    card = linear_vlm.card
    preprocessing = card.preprocessing.model_dump()
    whitened = Preprocessing(**preprocessing | {"mean": (0, 0, 0), "std": (2, 2, 2)})
    check_comparable(card.model_copy(update={"preprocessing": whitened}), card)
    for change in ({"size": 32}, {"resize": "squash"}, {"grey": True}):
        changed = Preprocessing(**preprocessing | change)
        with pytest.raises(NotComparable, match="another way"):
            check_comparable(card.model_copy(update={"preprocessing": changed}), card)
