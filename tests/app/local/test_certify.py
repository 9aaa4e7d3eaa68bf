"""One image certified in this process, and what is left where it does not run to its end."""

from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.local.certify import certify_here
from app.request.certify import parse_fields
from worker.contract.certificate.document import FinishedResult
from worker.contract.witness import FinishedWitness


def test_the_signed_certificate_is_there_before_the_search_for_a_witness_ends(
    tmp_path: Path, models_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMPTSMOOTH_MODELS", str(models_folder))
    file, made = tmp_path / "image.png", list[FinishedResult]()
    Image.fromarray(np.full((16, 16, 3), 90, dtype=np.uint8)).save(file)

    def end(_: FinishedWitness) -> None:
        raise KeyboardInterrupt

    fields = parse_fields({"model": "linear", "sigma": ["0.25"], "n_max": "100", "witness": "true"})
    with pytest.raises(KeyboardInterrupt):
        certify_here(
            file,
            fields,
            data_dir=tmp_path / "data",
            show=lambda _: nullcontext(lambda _: None),
            on_signed=made.append,
            on_witness=end,
        )
    (result,) = made
    assert result.signature is not None
