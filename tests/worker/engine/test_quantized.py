"""A model whose image tower is in int8: made from another one, and a classifier of its own."""

import shutil
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.catalogue import load_catalogue
from models.catalogue.cards import QUANTIZED_NETWORK, QUANTIZED_WEIGHTS, ModelCard, parse_card
from models.catalogue.weights import DigestMismatch, NetworkRefused
from models.installation.archive import add_bundle, write_bundle
from models.installation.folder import ModelTaken, describe_file, format_model_card
from models.installation.quantize import CannotQuantize, count_rows, quantize_model
from models.loading.loading import load_vlm
from models.loading.quantized import check_quantized
from models.vlm._imports import get_openvino
from models.vlm.compiled import CannotCompile
from worker.contract import ModelRef
from worker.counting.certify import certify
from worker.counting.records.protocol import Unrecorded
from worker.counting.roll import Roll
from worker.engine.engine import Engine
from worker.engine.local import LocalCounter
from worker.engine.shelf.fingerprint import create_probe_batch
from worker.engine.shelf.identity import create_identity
from worker.engine.shelf.memory import expect_memory, measure_memory
from worker.engine.shelf.runtime import TORCH, CpuRuntime, find_runtime, load_served
from worker.engine.shelf.shelf import Shelf

pytest.importorskip("nncf")
CPU = torch.device("cpu")
OPENVINO = CpuRuntime(name="openvino")
PARENT, HOME = load_catalogue().get("bundled-2"), load_catalogue().folder("bundled-2")


def sample_images() -> np.ndarray:
    size = PARENT.preprocessing.size
    return create_probe_batch(16, size).numpy().clip(0, 255).astype(np.uint8)


def quantize(models: Path, **changes: object) -> ModelCard:
    fields = {"model_id": "small", "images": sample_images(), "sigmas": (0.1, 0.25)}
    return quantize_model(PARENT, HOME, models, **(fields | changes))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    quantize(folder)
    return folder


@pytest.fixture(scope="module")
def card(models: Path) -> ModelCard:
    return load_catalogue(models).get("small")


@pytest.fixture(scope="module")
def served(models: Path, card: ModelCard):
    """It passes the engine's test of its rows, or this raises."""
    return load_served(card, models / "small", CPU, OPENVINO)


def test_the_card_names_its_parent_and_has_a_digest_of_its_own(card):
    made = card.quantization
    assert (made.parent, made.parent_sha256) == (PARENT.id, PARENT.sha256)
    assert (made.copies, made.sigmas) == (16, (0.1, 0.25))
    assert card.sha256 != PARENT.sha256
    assert parse_card(format_model_card(card)) == card
    tower = card.model_copy(update={"files": tuple(f for f in card.files if f.name[0] != "i")})
    assert tower.sha256 != card.sha256


def test_prompts_of_the_same_weights_are_taken(card):
    assert card.weights_sha256 == PARENT.weights_sha256


def test_the_same_images_give_the_same_files(card, tmp_path):
    again = quantize(tmp_path)
    assert again.files == card.files
    assert again.sha256 == card.sha256


def test_it_sees_nearly_what_its_parent_sees_and_reads_the_same(served):
    parent = load_vlm(PARENT, HOME, CPU)
    pixels = create_probe_batch(64, PARENT.preprocessing.size)
    cosines = (served.encode_images(pixels) * parent.encode_images(pixels)).sum(dim=1)
    assert cosines.mean() > 0.98
    assert cosines.min() < 1 - 1e-5
    texts = ["A hand.", "A chest X-ray."]
    assert torch.equal(served.encode_texts(texts), parent.encode_texts(texts))


def test_the_identity_says_int8_and_never_merges_with_the_parents(served):
    here = create_identity(served)
    there = create_identity(load_served(PARENT, HOME, CPU, OPENVINO))
    assert here.precision == "int8"
    assert "i8" in here.versions["kernels"].lower()
    assert here.fingerprint is not None
    assert not here.merges_with(there)
    assert find_runtime(here.precision, here.versions).name == "openvino"


@pytest.mark.parametrize("shape", [1, 7, 64])
def test_votes_depend_on_no_batch(served, shape):
    pixels = create_probe_batch(64, PARENT.preprocessing.size)
    parts = [served.encode_images(part) for part in pixels.split(shape)]
    assert torch.equal(torch.cat(parts), served.encode_images(pixels))
    order = torch.randperm(64, generator=torch.Generator().manual_seed(1))
    moved = served.encode_images(pixels[order])
    assert torch.equal(moved, served.encode_images(pixels)[order])


def test_memory_expected_is_what_it_takes(models, card, served):
    expected = expect_memory(card, models / "small", "cpu")
    assert expected == pytest.approx(measure_memory(served), rel=0.05)


@pytest.mark.parametrize(
    ("runtime", "device"), [(TORCH, "cpu"), (OPENVINO, "meta"), (TORCH, "meta")]
)
def test_nothing_but_openvino_on_a_cpu_computes_it(models, card, runtime, device):
    with pytest.raises(CannotCompile, match="OpenVINO alone"):
        load_served(card, models / "small", torch.device(device), runtime)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_no_setting_makes_another_precision_of_it(models, card, precision):
    runtime = CpuRuntime(name="auto", precision=precision)
    assert load_served(card, models / "small", CPU, runtime).precision == "int8"


@pytest.mark.parametrize("name", [QUANTIZED_NETWORK, QUANTIZED_WEIGHTS])
def test_a_changed_file_is_not_loaded(models, card, tmp_path, name):
    for file in card.files:
        content = (models / "small" / file.name).read_bytes()
        changed = content[:-1] + bytes([content[-1] ^ 1]) if file.name == name else content
        (tmp_path / file.name).write_bytes(changed)
    with pytest.raises(DigestMismatch, match=name):
        load_served(card, tmp_path, CPU, OPENVINO)


@pytest.mark.parametrize(
    "changes", [{"quantization": None}, {"precision": {"cpu": "fp32", "cuda": "bf16"}}]
)
def test_int8_and_what_it_was_made_from_belong_together(card, changes):
    with pytest.raises(ValueError, match="belong together"):
        ModelCard.model_validate(card.model_dump() | changes)


@pytest.mark.parametrize("size", [64, 224, 336, 384, 448, 512, 1024])
def test_attention_maps_of_a_batch_take_no_more_memory_than_those_of_8_images_of_336_pixels(size):
    rows = count_rows(size)
    assert 1 <= rows <= 8
    assert rows == 1 or rows * size**4 <= 8 * 336**4
    assert rows == 8 or size > 336


def test_what_cannot_be_quantized_leaves_nothing_behind(models, card, tmp_path):
    with pytest.raises(CannotQuantize, match="already"):
        quantize_model(
            card, models / "small", tmp_path, model_id="x", images=sample_images(), sigmas=(0.1,)
        )
    with pytest.raises(CannotQuantize, match="at least 8"):
        quantize(tmp_path, images=sample_images()[:7])
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ModelTaken):
        quantize(models)


def test_nothing_reports_that_nncf_is_used(models):
    assert models.exists()
    assert sys.modules["openvino_telemetry"] is None


def test_a_count_goes_on_from_a_checkpoint(served, create_request):
    """The same votes, counted in one go or resumed from the middle."""
    own = ModelRef(id="small", sha256=served.card.sha256)
    request, image = create_request("bundled-2", sigmas=["0.25"], n0=64, n=300)
    request = request.model_copy(update={"model": own})
    kept: list[Any] = []

    def count(**records: Any) -> Any:
        return certify(
            Roll(request, b"s" * 32),
            image,
            counter=LocalCounter(Engine(Shelf.holding([served]))),
            records=Unrecorded(**records),
            on_votes=lambda board, identity: kept.append(board.checkpoints(identity)),
        )

    whole = count()
    half = kept[len(kept) // 2]
    assert sum(one.prefixes[0].n for one in half.values()) > 0
    assert count(checkpoints=half) == whole
    assert whole.provenance.precision == "int8"


def bundle(card: ModelCard, models: Path, tmp_path: Path, network: bytes) -> Path:
    """A bundle of the model with another network, every checksum of which is right."""
    home = tmp_path / "small"
    shutil.copytree(models / "small", home)  # and the folders above it
    (home / QUANTIZED_NETWORK).write_bytes(network)
    files = tuple(describe_file(home / file.name) for file in card.files)
    write_bundle(card.model_copy(update={"files": files}), home, tmp_path / "small.tar")
    return tmp_path / "small.tar"


@pytest.mark.long
def test_a_bundle_is_tried_and_examined_before_it_is_kept(models, card, tmp_path):
    network = (models / "small" / QUANTIZED_NETWORK).read_bytes()
    sound = bundle(card, models, tmp_path, network)
    assert add_bundle("small", sound, tmp_path / "kept").card == card
    garbage = bundle(card, models, tmp_path / "other", b"garbage" * 99)
    with pytest.raises(NetworkRefused, match=r"image_tower\.xml"):
        add_bundle("small", garbage, tmp_path / "more")
    assert not list((tmp_path / "more").iterdir())


def change(build: Any) -> Any:
    """A network of one operator or a few between grey levels and features."""
    openvino = get_openvino()
    size = PARENT.preprocessing.size
    levels = openvino.opset15.parameter([8, 3, size, size], np.float32)
    return openvino.Model([build(openvino.opset15, levels)], [levels])


def pool(ops: Any, levels: Any) -> Any:
    """Features (8, 3) of each image."""
    return ops.reduce_mean(levels, np.array([2, 3]))


def add_noise(ops: Any, levels: Any) -> Any:
    drawn = ops.random_uniform(np.array([8, 3]), np.float32(0), np.float32(1), "f32")
    return ops.add(pool(ops, levels), drawn)


def normalise_batch(ops: Any, levels: Any) -> Any:
    return ops.mvn(pool(ops, levels), np.array([0]), True, 1e-6, "inside_sqrt")


@pytest.mark.parametrize(
    ("build", "width", "said"),
    [
        (pool, 3, None),
        (pool, 4, r"one output of float32 numbers, \(batch, 4\)"),
        (lambda ops, levels: ops.convert(pool(ops, levels), "f16"), 3, "one output of float32"),
        (add_noise, 3, "the operator 'RandomUniform'"),
        (normalise_batch, 3, "'MVN', .* mixes the images of a batch"),
    ],
)
def test_a_tower_is_arithmetic_on_one_image_each(build, width, said):
    size = PARENT.preprocessing.size
    with nullcontext() if said is None else pytest.raises(NetworkRefused, match=said):
        check_quantized(change(build), size, width)
