"""Prompts at hand without a server: what they depended on decides, not what they are called."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from app.local.prompts import LocalPrompts, load_prompt_file
from models.prompts.cards import PromptCard
from models.prompts.catalogue import load_prompt_catalogue
from models.prompts.files import save_prompt
from models.prompts.prompt import Prompt
from worker.contract.prompt import EncodedPrompt


def save(folder: Path, prompt_id: str, prompt: Prompt, method: str) -> PromptCard:
    card = PromptCard(
        id=prompt_id,
        model="bundled-2",
        weights_sha256="0" * 64,
        method=method,
        class_names=("a", "b"),
        n_ctx=prompt.n_ctx,
        width=prompt.width,
        suffix=prompt.suffix,
        sha256=prompt.sha256,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    folder.mkdir(exist_ok=True)
    save_prompt(folder, card, prompt)
    return card


def create_prompt(seed: int, suffix: str = ".") -> Prompt:
    ctx = np.random.default_rng(seed).normal(size=(2, 8)).astype(np.float32)
    return Prompt(ctx=ctx, suffix=suffix)


@pytest.fixture
def prompts(tmp_path: Path) -> LocalPrompts:
    return LocalPrompts(folder=tmp_path / "own", tuned=tmp_path / "tuned")


@pytest.mark.parametrize("suffix", [".", " image."])
def test_a_tuned_prompt_imported_under_another_name_stays_tuned(prompts, suffix):
    save(prompts.tuned, "zero-shot-1", create_prompt(1), "zero-shot")
    save(prompts.folder, "mine", create_prompt(1, suffix), "imported")
    save(prompts.folder, "other", create_prompt(2), "few-shot")
    assert prompts.find_card("mine").method == "zero-shot"
    assert prompts.find_card("other").method == "few-shot"


def test_a_copy_in_half_precision_was_learned_on_the_same_images(prompts):
    prompts.folder.mkdir()
    card, learned = load_prompt_catalogue(None).get("bundled-2-mednist").load()
    half = Prompt(ctx=learned.ctx.astype(np.float16).astype(np.float32), suffix=" scan.")
    assert half.ctx_sha256 != learned.ctx_sha256
    assert prompts.find_images(half) == set(card.learning.images) != set()
    assert prompts.find_images(create_prompt(1)) == set()


@pytest.mark.parametrize("damaged", ["b.toml", "b.safetensors", "b.start"])
def test_a_damaged_tuned_prompt_keeps_no_other_from_being_found(prompts, caplog, damaged):
    for name, seed in (("a", 1), ("b", 2), ("c", 3)):
        save(prompts.tuned, name, create_prompt(seed), "zero-shot")
    (prompts.tuned / damaged).write_bytes(b"cut o")
    save(prompts.folder, "mine", create_prompt(3, " image."), "imported")
    assert prompts.find_card("mine").method == "zero-shot"
    assert "tuned_prompt_damaged" in caplog.text
    assert prompts.find_card("a").id == "a"
    assert prompts.find_prompt(create_prompt(1).sha256) is not None
    assert (prompts.find_card("b") is None) == (damaged != "b.start")


def test_prompts_are_found_by_id_and_digest_in_every_folder(prompts):
    (own, tuned) = (create_prompt(1), create_prompt(2))
    save(prompts.folder, "mine", own, "few-shot")
    save(prompts.tuned, "zero-shot-2", tuned, "zero-shot")
    for prompt_id, prompt in (("mine", own), ("zero-shot-2", tuned)):
        assert prompts.find_card(prompt_id).sha256 == prompt.sha256
        assert prompts.find_card(prompt.sha256).id == prompt_id
        assert prompts.find_prompt(prompt.sha256).sha256 == prompt.sha256
    assert prompts.find_card("nobody") is None
    assert prompts.find_prompt("0" * 64) is None


def test_a_file_that_is_named_is_a_prompt_at_hand(prompts, tmp_path):
    prompts.folder.mkdir()
    prompt = create_prompt(3)
    path = tmp_path / "ctx.json"
    path.write_text(EncodedPrompt.of(prompt).model_dump_json())
    named = LocalPrompts(folder=prompts.folder, tuned=prompts.tuned, files=(path,))
    assert prompts.find_prompt(prompt.sha256) is None
    assert named.find_prompt(prompt.sha256).sha256 == prompt.sha256


def test_a_file_that_is_no_prompt_is_a_sentence(tmp_path):
    path = tmp_path / "ctx.json"
    path.write_text("{}")
    with pytest.raises(ValueError, match=r"ctx\.json is no prompt"):
        load_prompt_file(path)
