"""Output of an f that another host saved."""

from pathlib import Path

import numpy as np
import pytest

from worker.engine.measure.elsewhere import OtherMeasurement, load_output


@pytest.mark.parametrize(
    "content", [b"", b"nonsense", b"PK\x03\x04cut", b"\x93NUMPY\x01\x00cut"], ids=repr
)
def test_what_is_no_saved_output_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "output.npz"
    path.write_bytes(content)
    with pytest.raises(OtherMeasurement, match="no output of measure-eta"):
        load_output(path, None, ())  # the file comes first


def test_an_array_alone_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "output.npy"
    np.save(path, np.zeros(3))
    with pytest.raises(OtherMeasurement, match="no output of measure-eta"):
        load_output(path, None, ())
