"""The batch shape that is chosen keeps rows apart, and is written where it belongs."""

import json

import torch
from typer.testing import CliRunner

from app.cli.__main__ import cli
from models.catalogue import load_catalogue
from models.catalogue.measured import write_measured
from models.loading.loading import load_vlm
from models.testing import create_linear_model, write_linear_model
from worker.engine.measure.batch_choice import BatchRate, choose_rows, measure_shapes


def rate(rows: int, samples_per_s: float, *, rows_apart: bool = True) -> BatchRate:
    return BatchRate(rows=rows, samples_per_s=samples_per_s, rows_apart=rows_apart)


def test_the_smallest_of_the_nearly_fastest_is_chosen():
    assert choose_rows([rate(16, 50), rate(32, 98), rate(64, 100)]) == 32
    assert choose_rows([rate(16, 50), rate(32, 90), rate(64, 100)]) == 64


def test_a_shape_that_does_not_keep_rows_apart_is_never_chosen():
    fast = rate(128, 1000, rows_apart=False)
    assert choose_rows([rate(16, 50), fast]) == 16
    assert choose_rows([fast]) is None


class Neighbourly:
    """A model whose features depend on the batch: what must be noticed."""

    def __init__(self, vlm):
        self.card, self.device, self._vlm = vlm.card, vlm.device, vlm

    def encode_images(self, pixels):
        return self._vlm.encode_images(pixels) + pixels.to(torch.float32).mean()


def test_rows_that_depend_on_their_neighbours_are_noticed(models_folder):
    catalogue = load_catalogue(models_folder)
    vlm = load_vlm(catalogue.get("linear"), catalogue.folder("linear"), torch.device("cpu"))
    (sound,) = measure_shapes(vlm, [8], rounds=1, seconds=0)
    (unsound,) = measure_shapes(Neighbourly(vlm), [8], rounds=1, seconds=0)
    assert sound.rows_apart
    assert not unsound.rows_apart


def test_the_command_writes_the_shape_into_the_labs_own_card(tmp_path, monkeypatch):
    write_linear_model(tmp_path, create_linear_model(size=8))
    monkeypatch.setenv("PROMPTSMOOTH_MODELS", str(tmp_path))
    monkeypatch.setenv("PROMPTSMOOTH_THREADS", "1")
    command = ["models", "choose-batch", "linear", "--rows", "24", "--device", "cpu"]
    ran = CliRunner().invoke(
        cli, [*command, "--rounds", "1", "--seconds", "0", "--json", "--write"]
    )
    assert ran.exit_code == 0, ran.output
    assert json.loads(ran.stdout)["rows"] == 24
    assert load_catalogue(tmp_path).get("linear").batch_size == {"cpu": 24, "cuda": 256}


def test_a_written_shape_leaves_the_rest_of_the_card(tmp_path):
    write_linear_model(tmp_path, create_linear_model(size=8))
    path = tmp_path / "linear" / "card.toml"
    before = path.read_text()
    write_measured(path, "batch_size", "cuda", 512)
    assert path.read_text() == before.replace("cuda = 256", "cuda = 512")
