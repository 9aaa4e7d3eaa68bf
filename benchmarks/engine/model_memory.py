"""How much memory a loaded model takes, compared with its weights: python
benchmarks/engine/model_memory.py

Random weights of PLIP's architecture (ViT-B/32) are added as `promptsmooth models add` does, then
loaded in a fresh process for each precision. Writes results/model-memory.json beside this file.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from models.catalogue import load_catalogue
from models.forms.open_clip.files import write_open_clip
from models.installation.add import add_model
from models.loading.loading import create_clip, load_vlm
from models.loading.memory_growth import measure_growth
from models.vlm._imports import get_open_clip

RESULTS = Path(__file__).parents[1] / "results" / "model-memory.json"
STATUS = Path("/proc/self/status")


def add_random(models: Path, model_id: str, precision: str) -> None:
    """Adds a known model with random weights, on a card with this precision on a CPU."""
    description = load_catalogue().describe(model_id)
    published = description.published
    if published is None:
        raise ValueError(f"The card of {model_id!r} does not say its architecture.")
    torch.manual_seed(0)
    changed = description.model_copy(update={"precision": {"cpu": precision, "cuda": "bf16"}})
    with tempfile.TemporaryDirectory() as folder:
        tensors = create_clip(published.model_cfg).state_dict()
        write_open_clip(Path(folder), published.model_cfg, description.preprocessing, tensors)
        add_model(changed, Path(folder), models)


def measure(models: Path, model_id: str) -> dict[str, object]:
    """The growth and the peak of this process when it loads the model."""
    get_open_clip()
    catalogue = load_catalogue(models)
    card, cpu = catalogue.get(model_id), torch.device("cpu")
    before = read_status("VmRSS")
    vlm, grown = measure_growth(lambda: load_vlm(card, catalogue.folder(model_id), cpu), cpu)
    return {
        "model": vlm.card.id,
        "precision": card.precision["cpu"],
        "peak_bytes": read_status("VmHWM") - before,
        **grown.model_dump(),
    }


def read_status(name: str) -> int:
    """A field of this process's /proc status, in bytes."""
    (line,) = (line for line in STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


def run(model_id: str, precision: str) -> dict[str, object]:
    """Runs `measure` in a fresh process."""
    with tempfile.TemporaryDirectory() as models:
        add_random(Path(models), model_id, precision)
        command = [sys.executable, __file__, "--measure", models, "--model", model_id]
        ended = subprocess.run(  # noqa: S603  # this very program
            command, check=True, capture_output=True, text=True
        )
    measured: dict[str, object] = json.loads(ended.stdout)
    return measured


def main() -> None:
    """Measures every model, or one in this process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="plip", help="id of a known model")
    parser.add_argument("--measure", type=Path, help="a folder of models: measure in this process")
    asked = parser.parse_args()
    if asked.measure:
        sys.stdout.write(json.dumps(measure(asked.measure, asked.model)))
        return
    rows = [run(asked.model, precision) for precision in ("fp32", "bf16")]
    RESULTS.write_text(json.dumps(rows, indent=2) + "\n")
    for row in rows:
        sys.stdout.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
