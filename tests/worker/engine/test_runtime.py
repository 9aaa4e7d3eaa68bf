"""OpenVINO counts only where each row is for itself, and what counts is in the identity."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from logged import list_events

from models.catalogue import load_catalogue
from models.loading.loading import load_vlm
from models.testing import create_linear_model, write_linear_model
from models.vlm.compiled import CannotCompile, CompiledVLM
from models.vlm.denoised import DenoisedVLM, Denoiser
from models.vlm.vlm import VLM
from worker.contract import Identity
from worker.contract.certificate.document import FinishedResult
from worker.counting.certify import certify
from worker.counting.records.protocol import Unrecorded
from worker.counting.reproduce import reproduce
from worker.counting.roll import Roll
from worker.engine.engine import Engine
from worker.engine.local import LocalCounter
from worker.engine.measure.fresh import run_afresh
from worker.engine.shelf.fingerprint import create_probe_batch, probe
from worker.engine.shelf.identity import create_identity
from worker.engine.shelf.loaded_model import load_model
from worker.engine.shelf.memory import expect_memory, measure_memory
from worker.engine.shelf.row_test import check_compiled
from worker.engine.shelf.runtime import (
    TORCH,
    CpuRuntime,
    find_runtime,
    load_served,
    read_runtime,
)
from worker.engine.shelf.shelf import Shelf
from worker.settings import WorkerSettings

CPU = torch.device("cpu")
SECRET = b"s" * 32
OPENVINO = {one: CpuRuntime(name="openvino", precision=one) for one in ("fp32", "bf16")}
RUNTIMES = {"torch": TORCH, **OPENVINO}
CARD, FOLDER = load_catalogue().get("bundled-2"), load_catalogue().folder("bundled-2")


def serve(runtime: CpuRuntime) -> VLM:
    """The bundled model; where the processor has no bf16, a test of it is skipped."""
    try:
        return load_served(CARD, FOLDER, CPU, runtime)
    except CannotCompile as error:
        if "no bf16" in str(error):
            pytest.skip(str(error))
        raise


@pytest.fixture(scope="module", params=OPENVINO)
def compiled(request) -> VLM:
    return serve(OPENVINO[request.param])


@pytest.fixture(scope="module")
def by_torch() -> VLM:
    return serve(TORCH)


@pytest.fixture(scope="module")
def asked(create_request):
    return create_request("bundled-2", sigmas=["0.5"], n0=64, n=300, seed=3)


def count(vlm: VLM, asked: Any, **records: Any) -> tuple[FinishedResult, Any]:
    """A certificate, and the checkpoints after the first votes that were counted."""
    request, image = asked
    kept: list[Any] = []
    result = certify(
        Roll(request, SECRET),
        image,
        counter=LocalCounter(Engine(Shelf.holding([vlm]))),
        records=Unrecorded(**records),
        on_votes=lambda board, identity: kept.append(board.checkpoints(identity)),
    )
    return result, kept[len(kept) // 2]


def count_samples(checkpoints: Any) -> int:
    return sum(one.prefixes[0].n for one in checkpoints.values())


def test_the_identity_names_runtime_precision_and_kernels(compiled, by_torch):
    here, there = create_identity(compiled), create_identity(by_torch)
    assert here.precision == compiled.precision
    assert here.versions["kernels"] == compiled.kernels
    assert here.versions["kernels"].startswith("openvino 2")
    assert (here.model, here.device_class, here.batch_size) == (there.model, "cpu", 64)
    assert here.fingerprint != there.fingerprint
    assert None not in (here.fingerprint, there.fingerprint)
    assert not here.merges_with(there)
    assert here.merges_with(here)
    assert find_runtime(here.precision, here.versions) == OPENVINO[compiled.precision]
    assert find_runtime(there.precision, there.versions) == TORCH


def test_precisions_never_merge():
    fp32, bf16 = (create_identity(serve(runtime)) for runtime in OPENVINO.values())
    assert (fp32.precision, bf16.precision) == ("fp32", "bf16")
    assert fp32.fingerprint != bf16.fingerprint
    assert not fp32.merges_with(bf16)
    forged = bf16.model_copy(update={"fingerprint": fp32.fingerprint})
    assert not fp32.merges_with(forged)


def test_planes_whose_classes_have_changed_sides_never_merge(tmp_path):
    """Their cards have one digest, and every vote of one is for the other class."""
    found = []
    for names in (("below", "above"), ("above", "below")):
        folder = tmp_path / names[0]
        card = write_linear_model(folder, replace(create_linear_model(), class_names=names))
        found.append(create_identity(load_vlm(card, folder / "linear", CPU)))
    here, there = found
    assert here.model == there.model
    assert not here.merges_with(there)


def test_another_runtime_is_no_new_roll(compiled, by_torch, asked):
    """The same noise, the same claims but for rounding, and another f that the document names."""
    here, there = (count(vlm, asked)[0].provenance for vlm in (compiled, by_torch))
    assert here.noise_keys == there.noise_keys
    assert here.table_sha256 == there.table_sha256
    assert here.versions["kernels"] != there.versions["kernels"]
    assert here.fingerprint != there.fingerprint


def test_a_certificate_is_reproduced_by_its_own_runtime(compiled, asked):
    result = count(compiled, asked)[0]
    runtime = find_runtime(result.provenance.precision, result.provenance.versions)
    counter = LocalCounter(Engine(Shelf.holding([serve(runtime)])))
    found = reproduce(result, asked[1], counter)
    assert [finding.holds for finding in found] == [True, True]
    assert "every single vote is the same" in found[1].sentence


def test_a_count_goes_on_from_a_checkpoint_of_the_same_f(compiled, asked):
    whole, half = count(compiled, asked)
    resumed, after = count(compiled, asked, checkpoints=half)
    assert 0 < count_samples(half) < count_samples(after) <= 364
    assert resumed.certificates == whole.certificates
    assert resumed.provenance == whole.provenance


@pytest.mark.parametrize("shape", [1, 7, 64])
def test_votes_depend_on_no_batch(compiled, shape):
    pixels = create_probe_batch(64, CARD.preprocessing.size)
    wanted = compiled.encode_images(pixels)
    parts = [compiled.encode_images(part) for part in pixels.split(shape)]
    assert torch.equal(torch.cat(parts), wanted)


@pytest.mark.long
def test_a_restart_gives_the_same_bits(compiled):
    batch = create_probe_batch(64, CARD.preprocessing.size)
    runtime = OPENVINO[compiled.precision]
    again = run_afresh([batch], card=CARD, folder=FOLDER, device=CPU, runtime=runtime)
    assert torch.equal(again.outputs[0].image_features, compiled.encode_images(batch))


class Neighbourly:
    """A model whose features depend on the batch: what must be noticed before it counts."""

    def __init__(self, vlm: VLM) -> None:
        self._vlm, self.clip, self.normalise = vlm, vlm.clip, vlm.normalise

    def __getattr__(self, name: str) -> Any:
        return getattr(self._vlm, name)

    def encode_images(self, pixels):
        features = self._vlm.encode_images(pixels)
        return features + features.mean() / 10


def load_neighbourly(card, folder, device, *, compiled=None, aside=None) -> VLM:
    vlm = load_vlm(card, folder, device)
    return vlm if compiled is None else CompiledVLM(Neighbourly(vlm), compiled, aside=aside)


def test_rows_that_depend_on_their_neighbours_may_not_count():
    with pytest.raises(CannotCompile, match="place, its neighbours"):
        load_served(CARD, FOLDER, CPU, OPENVINO["fp32"], load_neighbourly)


def test_auto_counts_by_torch_instead_and_says_so(caplog):
    vlm = load_served(CARD, FOLDER, CPU, CpuRuntime(name="auto"), load_neighbourly)
    assert create_identity(vlm).versions["kernels"].split()[0] != "openvino"
    (event,) = list_events(caplog, "openvino_not_used")
    assert event["model"] == "bundled-2"
    assert "neighbours" in event["reason"]


def test_auto_never_gives_another_precision_than_the_one_that_was_set():
    with pytest.raises(CannotCompile):
        load_served(CARD, FOLDER, CPU, CpuRuntime(name="auto", precision="bf16"), load_neighbourly)


def test_auto_takes_openvino_where_it_may():
    assert isinstance(load_served(CARD, FOLDER, CPU, CpuRuntime(name="auto")), CompiledVLM)


def test_torch_computes_in_no_precision_but_the_cards():
    with pytest.raises(ValueError, match="PROMPTSMOOTH_CPU_RUNTIME"):
        load_served(CARD, FOLDER, CPU, CpuRuntime(name="torch", precision="bf16"))
    assert create_identity(serve(CpuRuntime(name="torch", precision="fp32"))).precision == "fp32"


def test_a_denoiser_stays_in_front_of_a_compiled_tower(compiled, by_torch):
    torch.manual_seed(0)
    denoiser = Denoiser(width=4, layers=2)
    here, there = DenoisedVLM(compiled, denoiser), DenoisedVLM(by_torch, denoiser)
    check_compiled(here)
    pixels = create_probe_batch(64, CARD.preprocessing.size)
    cosines = (here.encode_images(pixels) * there.encode_images(pixels)).sum(dim=1)
    assert cosines.min() > 0.99
    assert create_identity(here).precision == compiled.precision
    assert create_identity(here).versions["kernels"] == compiled.kernels


def test_the_memory_of_a_compiled_model_counts_its_weights_once(compiled, by_torch):
    tower = sum(leaf.nbytes for leaf in by_torch.clip.visual.parameters())
    saved = 0.0 if compiled.precision == "fp32" else 0.5
    less = measure_memory(by_torch) - measure_memory(compiled)
    assert less == pytest.approx(saved * tower, abs=0.02 * tower)


def test_the_memory_expected_of_a_compiled_model_is_what_it_takes(compiled):
    expected = expect_memory(CARD, FOLDER, "cpu", precision=compiled.precision)
    assert expected == pytest.approx(measure_memory(compiled), rel=0.02)


@pytest.mark.parametrize(
    ("settings", "runtime"),
    [
        ({}, CpuRuntime(name="auto")),
        ({"cpu_runtime": "torch"}, TORCH),
        ({"cpu_runtime": "openvino", "cpu_precision": "bf16"}, OPENVINO["bf16"]),
    ],
)
def test_settings_name_the_runtime(settings, runtime, tmp_path):
    found = read_runtime(WorkerSettings(**settings, data_dir=tmp_path))
    assert found == runtime.model_copy(update={"aside": tmp_path})


def test_weights_lie_in_the_temporary_folder_where_there_is_no_data_folder(tmp_path):
    assert read_runtime(WorkerSettings(data_dir=tmp_path / "missing")).aside is None


def test_a_disk_without_room_for_the_weights_is_named(tmp_path):
    runtime = CpuRuntime(name="openvino", aside=tmp_path / "missing")
    with pytest.raises(CannotCompile, match=r"put aside in .*missing"):
        load_served(CARD, FOLDER, CPU, runtime)


def test_an_engine_loads_what_the_runtime_says(asked):
    held = load_model(CARD, FOLDER, CPU, runtime=OPENVINO["fp32"])
    assert isinstance(held.vlm, CompiledVLM)
    assert isinstance(held.identity, Identity)
    assert held.identity.tau == 0.0
    assert held.identity.fingerprint == probe(held.vlm, 64).fingerprint
    np.testing.assert_allclose(
        held.vlm.encode_texts(["A hand."]), serve(TORCH).encode_texts(["A hand."])
    )
