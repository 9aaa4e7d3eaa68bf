"""Laws of noise made on the device, on a GPU or in Triton's interpreter.

Not collected by name: TRITON_INTERPRET must be set or unset before anything imports triton.
test_device_runner.py runs them in the interpreter, tests/gpu on a GPU.
"""

import os
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
import torch

from models.catalogue import load_catalogue
from models.loading.loading import load_vlm
from models.vlm.linear_toy import LinearVLM
from models.vlm.vlm import VLM
from worker.contract import CertifyRequest, CohenParameters, InputImage, ModelRef, TemplateTarget
from worker.contract.image import image_sha256
from worker.counting.certify import certify
from worker.counting.records.protocol import Unrecorded
from worker.counting.roll import Roll
from worker.engine.engine import Engine
from worker.engine.local import LocalCounter
from worker.engine.runner.batch import Samples, Slice
from worker.engine.runner.device import DeviceRunner
from worker.engine.runner.host import HostRunner
from worker.engine.runner.selftest import NoiseMismatch
from worker.engine.shelf.loaded_model import hold_model
from worker.engine.shelf.shelf import Shelf
from worker.sampling.table import create_noise_table
from worker.sampling.words import NoiseKey

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = torch.device("cpu" if INTERPRETED else "cuda")
ROWS = 6 if INTERPRETED else 256
KEYS = {"estimation": NoiseKey(7, 2**63 + 5), "selection": NoiseKey(8, 9)}


def load(precision: str) -> VLM:
    catalogue = load_catalogue()
    rows = {"cpu": ROWS, "cuda": ROWS}
    card = catalogue.get("bundled-2").model_copy(
        update={"batch_size": rows, "precision": {"cpu": precision, "cuda": precision}}
    )
    return load_vlm(card, catalogue.folder("bundled-2"), DEVICE)


@pytest.fixture(scope="module")
def vlm() -> VLM:
    """In the precision of the card; the interpreter cuts bf16 off where a GPU rounds."""
    return load("fp32" if INTERPRETED else "bf16")


@pytest.fixture(scope="module")
def linear(vlm) -> LinearVLM:
    """A small model that is given integers."""
    size = 16
    preprocessing = vlm.card.preprocessing.model_copy(update={"size": size})
    names = {"class_names": ("one side", "another")}
    card = vlm.card.model_copy(update={"preprocessing": preprocessing, **names})
    weight = torch.arange(3 * size * size) % 7 - 3
    middle = float(weight.sum()) * 127 + 0.5
    return LinearVLM(card=card, weight=weight, threshold=torch.tensor(middle), device=DEVICE)


def create_slices(vlm: VLM) -> list[Slice]:
    """Two images, two noise levels and purposes, and a row that nobody wants."""
    size = vlm.card.preprocessing.size
    rng = np.random.default_rng(3)
    tables = tuple(create_noise_table(sigma) for sigma in ("0.1", "1"))
    images = [rng.integers(0, 256, (3, size, size)).astype(np.uint8) for _ in range(2)]
    return [
        Slice(
            image=images[0],
            key=KEYS["estimation"],
            table=tables[0],
            samples=Samples(sigma_index=0, purpose="estimation", start=2**32 - 1, stop=2**32 + 2),
            offset=0,
        ),
        Slice(
            image=images[1],
            key=KEYS["selection"],
            table=tables[1],
            samples=Samples(sigma_index=1, purpose="selection", start=0, stop=2),
            offset=3,
        ),
    ]


@pytest.mark.parametrize("name", ["vlm", "linear"])
def test_features_are_those_of_noise_from_the_host(name, request):
    vlm = request.getfixturevalue(name)
    slices = create_slices(vlm)
    host = HostRunner(vlm, ROWS, threads=2).run(slices, turn=0)
    device = DeviceRunner(vlm, ROWS).run(slices, turn=0)
    device.send()
    device.wait()
    assert torch.equal(device.image_features[:5], host.image_features[:5])


@pytest.mark.parametrize("name", ["vlm", "linear"])
def test_a_number_that_f_should_not_have_been_given_is_seen(name, request):
    runner = DeviceRunner(request.getfixturevalue(name), ROWS)
    (part, _) = create_slices(runner._vlm)
    runner.run([part], turn=5)
    witness = runner._call_witness(part, 5)
    witness.examine(witness.values.cpu())
    with pytest.raises(NoiseMismatch, match=r"sigma 0\.1"):
        witness.examine(witness.values.cpu() + 1)


def certify_with(vlm: VLM, noise: str, *, ahead: int) -> object:
    card, size = vlm.card, vlm.card.preprocessing.size
    image = np.random.default_rng(1).integers(60, 200, (3, size, size)).astype(np.uint8)
    shelf = Shelf.holding([])
    shelf._put(replace(hold_model(vlm, noise=noise), batches_ahead=ahead))
    asked = CertifyRequest(
        input=InputImage(sha256=image_sha256(image), height=size, width=size, source="png"),
        model=ModelRef(id=card.id, sha256=card.sha256),
        targets=(TemplateTarget(template=card.template, class_names=card.class_names),),
        sigmas=(Decimal("0.25"), Decimal("1")),
        procedure=CohenParameters(n0=4, n=15),
    )
    return certify(
        Roll(asked, b"s" * 32),
        image,
        counter=LocalCounter(Engine(shelf)),
        records=Unrecorded(),
    )


def test_certificates_do_not_depend_on_where_noise_is_made_or_on_batches_under_way(vlm, linear):
    vlm = linear if INTERPRETED else vlm
    expected = certify_with(vlm, "host", ahead=0)
    assert certify_with(vlm, "host", ahead=1) == expected
    assert certify_with(vlm, "device", ahead=0) == expected
    assert certify_with(vlm, "device", ahead=1) == expected
