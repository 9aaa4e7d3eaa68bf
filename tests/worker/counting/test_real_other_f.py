"""Another instruction set gives another f in its last bits, for real: oneDNN without AVX-512."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from models.catalogue import load_catalogue
from models.loading.loading import load_vlm
from worker.contract.certificate.document import FinishedResult
from worker.counting.certify import certify
from worker.counting.records.protocol import Unrecorded
from worker.counting.reproduce import reproduce
from worker.counting.roll import Roll
from worker.engine.engine import Engine
from worker.engine.local import LocalCounter
from worker.engine.shelf.shelf import Shelf

SECRET = b"s" * 32
CODE = """
import sys
import numpy as np
import torch
from pathlib import Path
from tests.worker.counting.test_real_other_f import certify_bundled
from worker.contract import CertifyRequest
torch.set_num_threads(int(sys.argv[1]))
request = CertifyRequest.model_validate_json(sys.stdin.read())
print(certify_bundled(request, np.load(sys.argv[2])).model_dump_json())
"""


def create_counter() -> LocalCounter:
    catalogue = load_catalogue(None)
    card = catalogue.get("bundled-2")
    vlm = load_vlm(card, catalogue.folder(card.id), torch.device("cpu"))
    return LocalCounter(Engine(Shelf.holding([vlm])))


def certify_bundled(request, image) -> FinishedResult:
    counter = create_counter()
    return certify(Roll(request, SECRET), image, counter=counter, records=Unrecorded())


@pytest.mark.long
def test_a_certificate_made_without_avx512_is_reproduced_with_it(create_request, tmp_path):
    """Everything in its identity but the fingerprint is equal."""
    request, image = create_request("bundled-2", sigmas=["0.5"], n=1000, seed=3)
    np.save(tmp_path / "image.npy", image)
    made = subprocess.run(
        [sys.executable, "-c", CODE, str(torch.get_num_threads()), str(tmp_path / "image.npy")],
        input=request.model_dump_json(),
        env={**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"},
        capture_output=True,
        text=True,
        check=True,
    )
    there = FinishedResult.model_validate_json(made.stdout)
    here = certify_bundled(request, image)
    if here.provenance.fingerprint == there.provenance.fingerprint:
        pytest.skip("this processor has no AVX-512, so both are the same f")
    assert here.provenance.noise_keys == there.provenance.noise_keys
    unnamed = [
        one.model_dump(exclude={"fingerprint"}) for one in (here.provenance, there.provenance)
    ]
    assert unnamed[0] == unnamed[1]
    about, finding = reproduce(there, image, create_counter())
    assert "another f in its last bits" in about.sentence
    assert about.holds
    assert finding.holds
