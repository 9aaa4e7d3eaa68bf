import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]

TORCHVISION = """
import torch
torch.library.register_fake("torchvision::nms")(lambda *args: None)
"""
OPEN_CLIP = "import torchvision"


def run(program: str, path: Path) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": f"{path}{os.pathsep}{REPOSITORY}"}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env=environment,
        cwd=path,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def mismatched(tmp_path) -> Path:
    """A torchvision without compiled operators, as its CUDA build is beside torch's CPU build."""
    for name, text in (("torchvision", TORCHVISION), ("open_clip", OPEN_CLIP)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(text)
    return tmp_path


@pytest.mark.long
@pytest.mark.parametrize(
    ("cuda", "plain", "opened"),
    [("None", False, True), ("'13.0'", False, False), ("None", True, True)],
)
def test_open_clip_is_imported_beside_a_torchvision_of_another_torch(
    mismatched, cuda, plain, opened
):
    if plain:
        (mismatched / "torchvision" / "__init__.py").write_text("")
    program = (
        "import torch; torch.version.cuda = " + cuda + "\n"
        "from models.vlm import _imports\n"
        "print(_imports.get_open_clip().__name__, len(_imports._declared))"
    )
    finished = run(program, mismatched)
    assert (finished.returncode == 0) == opened
    if opened:
        assert finished.stdout.split() == ["open_clip", "0" if plain else "1"]
    else:
        assert "operator torchvision::nms does not exist" in finished.stderr


def test_importing_the_model_side_loads_no_model_library(tmp_path):
    program = (
        "import models.loading.loading, models.vlm.base_classifier, models.bundled.train, "
        "models.bundled.evaluate, sys\n"
        "sys.exit(bool({'open_clip', 'torchvision', 'transformers'} & set(sys.modules)))"
    )
    finished = run(program, tmp_path)
    assert finished.returncode == 0, finished.stderr
