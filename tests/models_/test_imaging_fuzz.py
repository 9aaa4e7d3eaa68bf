"""A short run of the fuzz target; `make test-fuzz` runs the long one. What it found stays below."""

import json
import subprocess
import sys
from pathlib import Path

FUZZ = Path(__file__).parents[1] / "fuzz" / "fuzz_images.py"


def test_mutations_of_good_files_end_in_an_image_or_a_refusal() -> None:
    run = subprocess.run(
        [sys.executable, str(FUZZ), "--inputs", "400", "--seconds", "8", "--seed", "7"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    found = json.loads(run.stdout)
    assert found["inputs"] > 40
    assert {"image", "image_broken"} <= set(found["outcomes"])
    assert found["largest_bytes"] < 10**9
