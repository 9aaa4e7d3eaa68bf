"""Prompts tuned without a service lie in files; no card is without the start of its prompt."""

import numpy as np
import pytest

from models.prompts.prompt import Prompt
from worker.contract import ZeroShotTarget
from worker.contract.prompt import EncodedPrompt
from worker.contract.protocol import PromptsTuned, TunedPrompt
from worker.counting.records.tuned_files import find_start, keep_tuned_files

START, TUNED = (
    Prompt(ctx=np.random.default_rng(seed).normal(size=(2, 64)).astype(np.float32))
    for seed in (1, 2)
)


@pytest.fixture
def keep(create_request, tmp_path):
    """Keeps `TUNED` in a folder, and returns where its card then lies."""
    target = ZeroShotTarget(template="A {} image.", class_names=("a", "b"))
    request, _ = create_request("bundled-2", targets=(target,))
    one = TunedPrompt(
        prompt=EncodedPrompt.of(TUNED),
        start=EncodedPrompt.of(START),
        entropy_before=0.5,
        entropy_after=0.4,
        seconds=0.1,
    )
    tuned = PromptsTuned(weights_sha256="0" * 64, tuned=((one,),))

    def keep_tuned():
        keep_tuned_files(tmp_path / "tuned", request, lambda: tuned)
        (path,) = (tmp_path / "tuned").glob("*.toml")
        return path

    return keep_tuned


def test_a_start_that_is_missing_is_written_beside_a_card_that_is_there(keep):
    path = keep()
    card = path.read_bytes()
    path.with_suffix(".start").unlink()
    assert find_start(path) is None
    assert keep() == path
    assert path.read_bytes() == card
    np.testing.assert_array_equal(find_start(path).ctx, START.ctx)


def test_a_start_is_written_before_the_card(keep):
    path = keep()
    for file in (path, path.with_suffix(".start"), path.with_suffix(".safetensors")):
        file.unlink()
    path.with_suffix(".safetensors").mkdir()  # the prompt itself cannot be written
    with pytest.raises(OSError, match=r"safetensors"):
        keep()
    assert not path.exists()
    np.testing.assert_array_equal(find_start(path).ctx, START.ctx)
