"""A retired id is refused with the reason and what to use instead, and names nothing else."""

import pytest

from models.catalogue import ModelNotValid, ModelRetired, load_catalogue
from models.catalogue.cards import InvalidCard, load_card
from models.catalogue.retired import find_prompt_retirement, find_retirement
from models.prompts.catalogue import load_prompt_catalogue
from models.testing import create_linear_model, write_linear_model

SAID = "'bundled' was retired: its text tower .* Use the model 'bundled-2'; .* learned again"


def test_a_retired_model_is_refused_with_the_reason_and_its_successor():
    catalogue = load_catalogue()
    for ask in (catalogue.get, catalogue.folder, catalogue.find_own_card):
        with pytest.raises(ModelRetired, match=SAID):
            ask("bundled")


def test_the_successors_ship_and_the_retired_do_not():
    models = {card.id for card in load_catalogue().list()}
    prompts = {entry.card.id for entry in load_prompt_catalogue().list()}
    retired = find_retirement("bundled")
    assert retired is not None
    assert retired.model_id not in models
    assert retired.successor in models
    assert set(retired.prompts.values()) <= prompts
    assert not set(retired.prompts) & prompts
    assert find_prompt_retirement("bundled-mednist") == retired


@pytest.mark.parametrize("find", [find_retirement, find_prompt_retirement])
def test_what_was_never_retired_is_none(find):
    assert find("bundled-2") is None


def test_nobody_gives_a_retired_id_to_a_model_of_their_own(tmp_path):
    write_linear_model(tmp_path, create_linear_model(), model_id="bundled")
    catalogue = load_catalogue(tmp_path)
    with pytest.raises(ModelNotValid, match=f"cannot be used again.*{SAID}"):
        catalogue.get("bundled")
    path = tmp_path / "bundled" / "card.toml"
    with pytest.raises(InvalidCard, match="cannot be used again"):
        load_catalogue().check_addition(load_card(path), path)
