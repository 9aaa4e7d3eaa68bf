"""The images that ship: each shows a class of its prompt, and nothing was learned from it."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.catalogue import load_catalogue
from models.imaging import Decoder
from models.prompts.catalogue import load_prompt_catalogue
from tools.check_page_words import WEB, read_messages

FOLDER = Path(__file__).parents[2] / "app" / "web" / "examples"
MODEL = load_prompt_catalogue().list()[0].card.model
EXAMPLES = json.loads((FOLDER / "examples.json").read_text("utf-8"))


def test_at_least_three_images_ship_and_the_readme_credits_all_files() -> None:
    credits = (FOLDER / "README.md").read_text("utf-8")
    stems = {path.stem for path in FOLDER.iterdir()} - {"README", "examples"}
    assert len(EXAMPLES) >= 3
    assert stems == {Path(one["file"]).stem for one in EXAMPLES}
    assert all(stem in credits for stem in stems)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda one: one["file"])
def test_the_page_says_of_an_example_what_the_demo_says(example: dict[str, str]) -> None:
    english = read_messages(WEB / "page" / "strings" / "en.js")
    assert english[f"example.{example['file']}"] == [example["about"]]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda one: one["file"])
def test_an_example_shows_a_class_of_its_prompt(example: dict[str, str]) -> None:
    card, _ = load_prompt_catalogue().get(example["prompt"]).load()
    assert example["class"] in card.class_names
    assert "{}" in example["template"]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda one: one["file"])
def test_a_dicom_example_holds_the_pixels_of_its_picture(
    example: dict[str, str], decoder: Decoder
) -> None:
    preprocessing = load_catalogue().get(MODEL).preprocessing
    found, shown = (
        decoder.prepare((FOLDER / example[name]).read_bytes(), preprocessing)
        for name in ("file", "picture")
    )
    assert np.array_equal(found.input, shown.input)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda one: one["file"])
def test_an_example_is_of_a_test_folder_byte_for_byte(
    example: dict[str, str], data_folder: Path
) -> None:
    source = data_folder / example["from"]
    assert source.parts[-3] == "test"
    if Path(example["file"]).suffix == ".dcm":
        original = np.asarray(Image.open(source).convert("L"))
        assert np.array_equal(np.asarray(Image.open(FOLDER / example["picture"])), original)
    else:
        assert (FOLDER / example["file"]).read_bytes() == source.read_bytes()


def test_one_example_is_asked_about_where_its_votes_are_divided() -> None:
    (divided,) = (one for one in EXAMPLES if "levels" in one)
    assert divided["levels"] == ["0.25"]
    assert "abstains" in divided["about"]
