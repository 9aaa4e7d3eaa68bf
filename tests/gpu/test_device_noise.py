"""What only a GPU can show. Skipped where there is none."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from waiting import HANG_S

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(),
    reason="torch finds no GPU (make setup TORCH=cuda, on a machine with one)",
)

REPOSITORY = Path(__file__).parents[2]


def test_laws_of_the_device_runner_hold_on_the_gpu():
    laws = REPOSITORY / "tests" / "worker" / "engine" / "device_laws.py"
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(laws)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-8000:] + run.stderr[-2000:]


def test_a_rows_features_depend_neither_on_its_place_nor_on_its_neighbours():
    from models.catalogue import load_catalogue
    from models.loading.loading import load_vlm

    catalogue = load_catalogue()
    card = catalogue.get("bundled-2")
    vlm = load_vlm(card, catalogue.folder("bundled-2"), torch.device("cuda"))
    size, rows = card.preprocessing.size, card.batch_size["cuda"]
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(-255, 511, (rows, 3, size, size), dtype=torch.int16, generator=generator)
    pixels = pixels.cuda()
    order = torch.randperm(rows, generator=generator).cuda()
    features = vlm.encode_images(pixels)
    assert torch.equal(vlm.encode_images(pixels[order]), features[order])
    pixels[rows // 2 :] = 0
    assert torch.equal(vlm.encode_images(pixels)[: rows // 2], features[: rows // 2])


def test_a_graph_has_the_features_of_the_tower():
    from worker.engine.runner.device import create_replay

    inputs = torch.zeros((8, 32), device="cuda")
    weight = torch.randn((32, 32), device="cuda")
    replay = create_replay(lambda x: torch.nn.functional.normalize(x @ weight, dim=-1), inputs)
    for seed in range(3):
        torch.manual_seed(seed)
        inputs.copy_(torch.randn((8, 32)))
        expected = torch.nn.functional.normalize(inputs @ weight, dim=-1)
        assert torch.equal(replay(), expected)


def test_a_model_whose_card_names_no_tau_has_it_measured_wherever_it_is_named():
    from models.catalogue import load_catalogue
    from models.loading.loading import load_vlm
    from worker.engine.shelf.identity import create_identity
    from worker.engine.shelf.shelf import Shelf

    catalogue = load_catalogue()
    card = catalogue.get("bundled-2")
    card = card.model_copy(update={"tau": card.tau | {"cuda": None}})
    vlm = load_vlm(card, catalogue.folder("bundled-2"), torch.device("cuda"))
    assert create_identity(vlm).tau is None
    named = create_identity(vlm, measure_tau=lambda _vlm, _fingerprint: 0.25)
    shelf = Shelf.holding([vlm], measure_tau=lambda _vlm, _fingerprint: 0.25)
    assert named.tau == 0.25
    assert [one.identity.tau for one in shelf.list_loaded()] == [0.25]
