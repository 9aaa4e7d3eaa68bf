"""Eta is what a model really does: nothing where runs are bit-equal, exact where they are not."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from app.models_cli import ShippedCard, write_report
from models.base_classifier import BaseClassifier, create_base_classifier
from models.cards import ModelCard, load_card
from models.catalogue import load_catalogue
from models.loading import load_vlm
from models.testing import create_linear_model, write_linear_model
from models.vlm import VLM
from worker.engine.eta import (
    MARGIN,
    EtaReport,
    NoisyBatch,
    NotMeasurable,
    Variation,
    create_run,
    create_synthetic_images,
    measure_eta,
    sample_batches,
)
from worker.engine.fresh import FreshProcessFailed, run_afresh

PROMPTSMOOTH = Path(sys.executable).with_name("promptsmooth")
STEP = 2.0**-10  # all numbers of the toy are multiples of it: float32 holds them exactly
ROWS, SIZE = 8, 4
HERE = {Variation.REPEAT, Variation.ORDER, Variation.PADDING, Variation.NEIGHBOURS}


class ToyVLM:
    """Two logits: a pixel of the image, moved as the test says, and 0. Implements `VLM`."""

    embed_dim = 2
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


def test_a_model_that_depends_on_the_row_is_found_out_with_the_exact_eta(toy_card, batches):
    report, _ = measure(toy_card, batches, lambda pixels, _: STEP * torch.arange(len(pixels)))
    assert report.differences == dict.fromkeys(HERE, 0.0) | {Variation.ORDER: STEP * (ROWS - 1)}
    assert report.eta == STEP * (ROWS - 1)
    assert report.tau == 2 * MARGIN * report.eta


def test_a_model_that_depends_on_the_padding_is_found_out(toy_card, batches):
    def move(pixels: Tensor, _: int) -> Tensor:
        blank = (pixels == 0).flatten(1).all(dim=1).any()
        return torch.full((len(pixels),), STEP) * blank

    report, _ = measure(toy_card, batches, move)
    assert report.differences == dict.fromkeys(HERE, 0.0) | {Variation.PADDING: STEP}
    assert report.eta == STEP


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
    assert report.eta == 2 * STEP


def test_a_model_that_drifts_is_found_out_with_the_exact_eta(toy_card, batches):
    def move(pixels: Tensor, calls: int) -> Tensor:
        return torch.full((len(pixels),), STEP * calls)

    report, toy = measure(toy_card, batches, move)
    assert report.eta == STEP * (toy.calls - 2)  # the second batch, from its first run to its last
    assert report.differences[Variation.REPEAT] > 0


def test_runs_elsewhere_are_compared_with_the_first_run_here(toy_card, batches):
    def moved(by: float):
        other = ToyVLM(toy_card, lambda pixels, _: torch.full((len(pixels),), by))
        run = create_run(BaseClassifier(vlm=other, text_features=torch.eye(2)))
        return lambda batches: [run(batch.pixels) for batch in batches]

    reruns = {Variation.RESTART: [moved(0)], Variation.DEVICE: [moved(STEP), moved(-3 * STEP)]}
    report, _ = measure(toy_card, batches, still, reruns)
    assert report.differences[Variation.RESTART] == 0
    assert report.differences[Variation.DEVICE] == 3 * STEP
    assert report.eta == 4 * STEP


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
def test_a_logit_that_is_finite_in_some_runs_alone_has_no_eta(toy_card, batches, value):
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
    card, folder, device = catalogue.get("bundled"), catalogue.folder("bundled"), ToyVLM.device
    classifier = create_base_classifier(
        load_vlm(card, folder, device), card.template, card.class_names
    )
    batches = sample_batches(
        create_synthetic_images(card.preprocessing.size),
        batch_size=card.batch_size["cpu"],
        each=1,
        sigmas=(Decimal("0.25"), Decimal("1")),
    )

    def afresh(batches):
        return run_afresh(batches, card=card, folder=folder, device=device)

    return measure_eta(classifier, batches, {Variation.RESTART: [afresh]})


def test_the_bundled_model_is_bit_equal_within_its_identity(bundled_report):
    assert bundled_report.differences == dict.fromkeys({*HERE, Variation.RESTART}, 0.0)
    assert (bundled_report.eta, bundled_report.tau) == (0.0, 0.0)
    assert set(bundled_report.ambiguous.values()) == {0.0}


def test_a_card_that_ships_is_not_written_and_the_line_is_said(bundled_report):
    report = bundled_report.model_copy(update={"tau": 0.25})
    with pytest.raises(ShippedCard, match=r"tau = \{ cpu = 0\.25, cuda = 0\.0 \}$"):
        write_report(report, load_catalogue())
    assert load_catalogue().get("bundled").tau["cpu"] == 0.0


def test_a_fresh_process_that_cannot_run_the_model_says_why(toy_card, batches, tmp_path):
    with pytest.raises(FreshProcessFailed, match=r"linear\.safetensors is missing"):
        run_afresh(batches, card=toy_card, folder=tmp_path, device=ToyVLM.device)


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
    assert load_card(path) == before
