"""Which prompts lie on this machine."""

import shutil
from datetime import UTC, datetime

import numpy as np
import pytest

from models.catalogue import load_catalogue
from models.prompts.cards import InvalidPromptCard
from models.prompts.catalogue import SHIPPED, UnknownPrompt, load_prompt_catalogue, ships
from models.prompts.files import PromptMismatch, get_values_path, save_prompt
from models.prompts.imported import create_import


def save(folder, prompt_id: str, *, seed: int = 0):
    ctx = np.random.default_rng(seed).normal(size=(3, 64)).astype(np.float32)
    card, prompt = create_import(
        ctx,
        prompt_id=prompt_id,
        model=load_catalogue().get("bundled-2"),
        text_width=64,
        class_names=("a", "b"),
        suffix=".",
        created_at=datetime(2026, 1, 2, tzinfo=UTC),
    )
    return save_prompt(folder, card, prompt)


def test_prompts_are_found_by_id_and_by_digest(tmp_path):
    save(tmp_path, "second", seed=2)
    save(tmp_path, "first", seed=1)
    catalogue = load_prompt_catalogue(tmp_path)
    own = [entry for entry in catalogue.list() if not ships(entry.card.id)]
    assert [entry.card.id for entry in own] == ["first", "second"]
    card, prompt = catalogue.get("first").load()
    assert card.sha256 == prompt.sha256
    assert catalogue.get(prompt.sha256).card == card
    with pytest.raises(UnknownPrompt, match=r"'third'\. Known prompts: .*first, second"):
        catalogue.get("third")


def test_every_prompt_that_ships_is_whole_and_fits_its_model():
    models = load_catalogue()
    entries = load_prompt_catalogue().list()
    assert {path.stem for path in SHIPPED.glob("*.toml")} == {e.card.id for e in entries}
    for entry in entries:
        card, _ = entry.load()
        assert entry.path.parent == SHIPPED
        assert card.weights_sha256 == models.get(card.model).weights_sha256
        assert card.licence


def test_a_file_that_is_not_named_like_its_prompt_is_refused(tmp_path):
    path = save(tmp_path, "first")
    path.rename(tmp_path / "other.toml")
    with pytest.raises(InvalidPromptCard, match=r"its id 'first' differs"):
        load_prompt_catalogue(tmp_path)


def test_one_id_is_one_prompt(tmp_path):
    shipped = next(SHIPPED.glob("*.toml")).stem
    assert load_prompt_catalogue().get(shipped).path.parent == SHIPPED
    save(tmp_path, shipped)
    with pytest.raises(InvalidPromptCard, match="another prompt already has the id"):
        load_prompt_catalogue(tmp_path)


def test_exchanged_vectors_are_noticed(tmp_path):
    first, second = save(tmp_path, "first", seed=1), save(tmp_path, "second", seed=2)
    shutil.copy(get_values_path(second), get_values_path(first))
    with pytest.raises(PromptMismatch, match="sha256"):
        load_prompt_catalogue(tmp_path).get("first").load()


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(NotADirectoryError, match=r"prompts folder .*none"):
        load_prompt_catalogue(tmp_path / "none")
