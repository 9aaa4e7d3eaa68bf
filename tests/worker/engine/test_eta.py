"""Eta is what a model really does: nothing where runs are bit-equal, exact where they are not."""

import json
import math
import os
import subprocess
from collections.abc import Callable
from decimal import Decimal
from functools import partial

import numpy as np
import pytest
import torch
from command import PROMPTSMOOTH
from torch import Tensor
from torch.nn.functional import normalize

from models.catalogue import load_catalogue
from models.catalogue.cards import ModelCard, load_card
from models.catalogue.measured import ShippedCard, write_own
from models.loading.loading import load_vlm
from models.testing import create_linear_model, write_linear_model
from models.vlm.base_classifier import BaseClassifier, create_base_classifier
from models.vlm.vlm import VLM
from worker.engine.measure.eta import (
    MARGIN,
    EtaReport,
    NoisyBatch,
    NotMeasurable,
    Variation,
    create_synthetic_images,
    find_rounding,
    measure_eta,
    run_all,
    sample_batches,
)
from worker.engine.measure.first_load import find_or_measure_tau
from worker.engine.measure.fresh import FreshProcessFailed, run_afresh
from worker.engine.shelf.identity import create_identity

STEP = 2.0**-10  # all numbers of the toy are multiples of it: float32 holds them exactly
ROWS, SIZE = 8, 4
HERE = {Variation.REPEAT, Variation.ORDER, Variation.PADDING, Variation.NEIGHBOURS}


class ToyVLM:
    """Two features: a pixel of the image, moved as the test says, and 0. Implements `VLM`."""

    embed_dim = 2
    text_width = 0
    logit_scale = 1.0
    device = torch.device("cpu")

    def __init__(self, card: ModelCard, move: Callable[[Tensor, int], Tensor]) -> None:
        self.card = card
        self.move = move
        self.calls = 0

    def encode_images(self, pixels: Tensor) -> Tensor:
        first = pixels[:, 0, 0, 0].float() / 256 + self.move(pixels, self.calls)  # (B,)
        self.calls += 1
        return torch.stack([first, torch.zeros_like(first)], dim=1)

    def encode_texts(self, texts) -> Tensor:
        return torch.eye(len(texts))

    def tokenize(self, texts, *, n_ctx: int = 0) -> None:
        """It has no text tower."""


ROUNDING = (2 + 8) * 2.0**-23  # D = 2, logit scale 1


@pytest.fixture(scope="module")
def toy_card(tmp_path_factory: pytest.TempPathFactory) -> ModelCard:
    folder = tmp_path_factory.mktemp("toy")
    return write_linear_model(folder, create_linear_model(size=SIZE), batch_size={"cpu": ROWS})


@pytest.fixture(scope="module")
def batches() -> tuple[NoisyBatch, ...]:
    sigmas = (Decimal("0.25"), Decimal("1"))
    images = create_synthetic_images(SIZE)
    return sample_batches(images, batch_size=ROWS, each=1, sigmas=sigmas)


def measure(card: ModelCard, batches, move, reruns=None) -> tuple[EtaReport, ToyVLM]:
    toy = ToyVLM(card, move)
    vlm: VLM = toy
    classifier = BaseClassifier(vlm=vlm, text_features=torch.eye(2))
    return measure_eta(classifier, batches, reruns or {}), toy


def still(pixels: Tensor, calls: int) -> Tensor:
    return torch.zeros(len(pixels))


def test_a_model_that_stands_still_has_no_eta(toy_card, batches):
    report, _ = measure(toy_card, batches, still)
    assert report.differences == dict.fromkeys(HERE, 0.0)
    assert (report.eta, report.tau, report.samples) == (0.0, 0.0, 2 * ROWS)
    assert (report.text_difference, report.rounding) == (0.0, 0.0)


def test_a_model_that_depends_on_the_row_is_found_out_with_the_exact_eta(toy_card, batches):
    report, _ = measure(toy_card, batches, lambda pixels, _: STEP * torch.arange(len(pixels)))
    assert report.differences == dict.fromkeys(HERE, 0.0) | {Variation.ORDER: STEP * (ROWS - 1)}
    assert report.eta == STEP * (ROWS - 1) + ROUNDING
    assert report.tau == 2 * MARGIN * report.eta


def test_a_model_that_depends_on_the_padding_is_found_out(toy_card, batches):
    def move(pixels: Tensor, _: int) -> Tensor:
        blank = (pixels == 0).flatten(1).all(dim=1).any()
        return torch.full((len(pixels),), STEP) * blank

    report, _ = measure(toy_card, batches, move)
    assert report.differences == dict.fromkeys(HERE, 0.0) | {Variation.PADDING: STEP}
    assert report.eta == STEP + ROUNDING


def test_a_model_that_depends_on_its_neighbours_is_found_out(toy_card, batches):
    def move(pixels: Tensor, _: int) -> Tensor:
        return pixels[:, 0, 0, 1].roll(1).float() / 1024

    report, _ = measure(toy_card, batches, move)
    assert report.differences[Variation.REPEAT] == 0
    assert report.differences[Variation.NEIGHBOURS] > 0
    assert report.eta >= max(report.differences.values())


def test_eta_is_the_difference_of_any_two_runs_and_not_only_from_the_first(toy_card, batches):
    def move(pixels: Tensor, calls: int) -> Tensor:
        return torch.full((len(pixels),), STEP * (0 if calls < 2 else (-1) ** calls))

    report, _ = measure(toy_card, batches, move)
    assert max(report.differences.values()) == STEP
    assert report.eta == 2 * STEP + ROUNDING


def test_a_model_that_drifts_is_found_out_with_the_exact_eta(toy_card, batches):
    def move(pixels: Tensor, calls: int) -> Tensor:
        return torch.full((len(pixels),), STEP * calls)

    report, toy = measure(toy_card, batches, move)
    moved = STEP * (toy.calls - 2 - 2)  # the fingerprint is taken last, by two runs
    assert report.eta == moved + ROUNDING  # the second batch, from its first run to its last
    assert report.differences[Variation.REPEAT] > 0


def test_tau_at_the_first_load_is_measured_once_and_kept_with_the_fingerprint(toy_card, tmp_path):
    drifting = ToyVLM(toy_card, lambda pixels, calls: torch.full((len(pixels),), STEP * calls))
    assert find_or_measure_tau(drifting, "a" * 64, tmp_path) > 0
    before = drifting.calls
    assert find_or_measure_tau(drifting, "a" * 64, tmp_path) > 0
    assert drifting.calls == before  # kept
    assert find_or_measure_tau(drifting, "b" * 64, tmp_path) > 0
    assert drifting.calls > before  # another f
    steady = ToyVLM(toy_card, still)
    assert find_or_measure_tau(steady, "c" * 64, tmp_path) == 0.0  # a measured zero
    assert create_identity(steady).tau is None  # not measured, where nothing measured it


def elsewhere(card: ModelCard, by: float, text_features: Tensor | None = None):
    other = ToyVLM(card, lambda pixels, _: torch.full((len(pixels),), by))
    features = torch.eye(2) if text_features is None else text_features
    return partial(run_all, BaseClassifier(vlm=other, text_features=features))


def test_runs_elsewhere_are_compared_with_each_other_and_with_those_here(toy_card, batches):
    reruns = {
        Variation.RESTART: [elsewhere(toy_card, 0)],
        Variation.DEVICE: [elsewhere(toy_card, STEP), elsewhere(toy_card, -3 * STEP)],
    }
    report, _ = measure(toy_card, batches, still, reruns)
    assert report.differences[Variation.RESTART] == 0
    assert report.differences[Variation.DEVICE] == 3 * STEP
    assert report.eta == 4 * STEP + ROUNDING


def test_text_features_that_move_are_found_out_and_added(toy_card, batches):
    moved = torch.eye(2) + torch.tensor([[0.0, 0.0], [3 * STEP, 4 * STEP]])
    reruns = {Variation.RESTART: [elsewhere(toy_card, STEP, moved)]}
    report, _ = measure(toy_card, batches, still, reruns)
    assert report.text_difference == 5 * STEP
    assert report.eta == STEP + 5 * STEP + ROUNDING


class TiltedVLM(ToyVLM):
    """Unit features of D = 24 numbers that every run tilts anew; texts are tilted less."""

    embed_dim, logit_scale = 24, 100.0

    def encode_images(self, pixels: Tensor) -> Tensor:
        self.calls += 1
        generator = torch.Generator().manual_seed(self.calls)
        sums = pixels.flatten(1).float()[:, : self.embed_dim]
        tilt = 1e-4 * torch.randn(sums.shape, generator=generator)
        return normalize(normalize(sums) + tilt)


def random_texts(seed: int, num_classes: int, dim: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return normalize(torch.randn((num_classes, dim), generator=generator))


def test_the_logits_of_any_prompt_move_by_no_more_than_eta(toy_card, batches):
    """Measured under one prompt; true of five hundred others, and near for the worst of all."""
    outputs: list[Tensor] = []

    class Recorded(TiltedVLM):
        def encode_images(self, pixels: Tensor) -> Tensor:
            outputs.append(super().encode_images(pixels))
            return outputs[-1]

    vlm: VLM = Recorded(toy_card, still)
    own = BaseClassifier(vlm=vlm, text_features=random_texts(0, 2, vlm.embed_dim))
    eta = measure_eta(own, batches, {}).eta
    first, again = outputs[0], outputs[2]  # of the first batch: first run and its repetition
    for seed in range(1, 501):
        other = BaseClassifier(vlm=vlm, text_features=random_texts(seed, 9, vlm.embed_dim))
        assert (other.logits(first).double() - other.logits(again).double()).abs().max() <= eta
    worst = BaseClassifier(vlm=vlm, text_features=normalize(first - again))
    moved = (worst.logits(first) - worst.logits(again)).abs().max()
    assert 0.5 * eta < moved <= eta  # eta is of all pairs of runs, this is one


def test_rounding_alone_is_within_its_bound(toy_card):
    """Features moved by a few units in the last place: the sums in float32 move further."""
    vlm: VLM = TiltedVLM(toy_card, still)
    largest = 0.0
    for seed in range(200):
        classifier = BaseClassifier(vlm=vlm, text_features=random_texts(seed, 50, vlm.embed_dim))
        features = random_texts(1000 + seed, 8, vlm.embed_dim)
        nearby = features * (1 + 2.0**-23)
        moved = (classifier.logits(features).double() - classifier.logits(nearby).double()).abs()
        distance = vlm.logit_scale * (features.double() - nearby.double()).norm(dim=1)  # (B,)
        assert (moved <= distance[:, None] + find_rounding(vlm)).all()
        largest = max(largest, float((moved - distance[:, None]).max()))
    assert largest > 0  # without the bound on rounding, eta would be too small


def test_the_share_of_ambiguous_samples_is_that_of_the_rows_within_tau(toy_card, batches):
    report, _ = measure(toy_card, batches, lambda pixels, _: STEP * 64 * torch.arange(len(pixels)))
    for batch in batches:
        first = batch.pixels[:, 0, 0, 0].numpy() / 256 + STEP * 64 * np.arange(ROWS)
        assert report.ambiguous[f"{batch.sigma:f}"] == np.mean(np.abs(first) <= report.tau)
    assert any(0 < share < 1 for share in report.ambiguous.values())


def test_the_same_nan_in_every_run_is_no_difference_but_ambiguous(toy_card, batches):
    report, _ = measure(toy_card, batches, lambda pixels, _: torch.full((len(pixels),), math.nan))
    assert report.eta == 0
    assert set(report.ambiguous.values()) == {1.0}


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_feature_that_is_finite_in_some_runs_alone_has_no_eta(toy_card, batches, value):
    def move(pixels: Tensor, calls: int) -> Tensor:
        return torch.full((len(pixels),), value if calls == 7 else 0.0)

    with pytest.raises(NotMeasurable, match="cannot be certified"):
        measure(toy_card, batches, move)


def test_batches_are_of_the_card_s_shape_and_their_noise_differs(toy_card):
    images = create_synthetic_images(SIZE)
    batches = sample_batches(images, batch_size=ROWS, each=2)
    rows = torch.cat([batch.pixels for batch in batches]).flatten(1)
    assert len(torch.unique(rows, dim=0)) == len(rows)
    assert rows.dtype == torch.int16
    for wrong in (batches[:1], sample_batches(images, batch_size=ROWS + 1, each=2)):
        with pytest.raises(ValueError, match="batch"):
            measure(toy_card, wrong, still)


# --- The models that ship, and the card ------------------------------------------------------


@pytest.fixture(scope="module")
def bundled_report() -> EtaReport:
    catalogue = load_catalogue()
    card, folder, device = catalogue.get("bundled-2"), catalogue.folder("bundled-2"), ToyVLM.device
    classifier = create_base_classifier(
        load_vlm(card, folder, device), card.template, card.class_names
    )
    batches = sample_batches(
        create_synthetic_images(card.preprocessing.size),
        batch_size=card.batch_size["cpu"],
        each=1,
        sigmas=(Decimal("0.25"), Decimal("1")),
    )

    afresh = partial(run_afresh, card=card, folder=folder, device=device)
    return measure_eta(classifier, batches, {Variation.RESTART: [afresh]})


@pytest.mark.long
def test_the_bundled_model_is_bit_equal_within_its_identity(bundled_report):
    assert bundled_report.differences == dict.fromkeys({*HERE, Variation.RESTART}, 0.0)
    assert (bundled_report.eta, bundled_report.tau) == (0.0, 0.0)
    assert bundled_report.text_difference == 0.0
    assert set(bundled_report.ambiguous.values()) == {0.0}


def test_a_card_that_ships_is_not_written_and_the_line_is_said():
    with pytest.raises(ShippedCard, match=r"tau = \{ cpu = 0\.25 \}$"):
        write_own(load_catalogue(), "bundled-2", "tau", "cpu", 0.25)
    assert load_catalogue().get("bundled-2").tau["cpu"] == 0.0


def test_a_fresh_process_that_cannot_run_the_model_says_why(toy_card, batches, tmp_path):
    pixels = [batch.pixels for batch in batches]
    with pytest.raises(FreshProcessFailed, match=r"linear\.safetensors is missing"):
        run_afresh(pixels, card=toy_card, folder=tmp_path, device=ToyVLM.device)


@pytest.mark.long
def test_the_command_measures_and_writes_the_card_of_an_own_model(tmp_path):
    before = write_linear_model(tmp_path, create_linear_model(size=SIZE))
    path = tmp_path / "linear" / "card.toml"
    text = path.read_text()
    path.write_text(text + "# kept\n")
    done = subprocess.run(
        [PROMPTSMOOTH, "models", "measure-eta", "linear", "--device", "cpu", "--json", "--write"],
        env=os.environ | {"PROMPTSMOOTH_MODELS": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    report = EtaReport.model_validate(json.loads(done.stdout))
    assert report.differences == dict.fromkeys({*HERE, Variation.RESTART}, 0.0)
    line = "tau = { cpu = 0.0 }\n"
    assert path.read_text().replace(line, "", 1) == text + "# kept\n"
    assert path.read_text().count(line) == 1
    after = load_card(path)
    assert (before.tau["cpu"], after.tau["cpu"]) == (None, 0.0)  # now a measured zero
    assert after.model_copy(update={"tau": before.tau}) == before
    assert after.sha256 == before.sha256
