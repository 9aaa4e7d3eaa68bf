"""What tests of the engine share."""

from pathlib import Path

import pytest
from shelves import NAMES, SIZE

from models.testing import create_linear_model, write_linear_model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three linear models of equal size, all different."""
    for seed, name in enumerate(NAMES):
        write_linear_model(tmp_path, create_linear_model(size=SIZE, seed=seed), model_id=name)
    return tmp_path
