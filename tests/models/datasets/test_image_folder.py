"""Folders are read in an order that nothing but their names decides."""

import json

import numpy as np
import pytest
from PIL import Image

from models.catalogue.cards import Preprocessing
from models.datasets.image_folder import UnusableFolder, UnusableImage, list_images
from models.datasets.training_images import Shots

PREPROCESSING = Preprocessing(size=8, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def write_images(folder, *greys: int) -> None:
    folder.mkdir(parents=True)
    for number, grey in enumerate(greys):
        Image.new("L", (8, 8), grey).save(folder / f"{number}.png")


def write_card(folder, classes: dict[str, str], **more: object) -> None:
    card = {"name": "set", "classes": classes, "prompt_template": "A {}.", **more}
    (folder / "card.json").write_text(json.dumps(card))


def test_class_folders_named_by_numbers_are_ordered_as_numbers(tmp_path):
    for name in ("10", "2", "0"):
        write_images(tmp_path / name, int(name))
    found = list_images(tmp_path, "train")
    assert found.class_folders == ("0", "2", "10")
    assert found.find_class_names() is None
    pixels = found.load([0, 1, 2], PREPROCESSING)
    assert pixels.shape == (3, 3, 8, 8)
    assert list(pixels[:, 0, 0, 0]) == [0, 2, 10]


def test_other_folders_are_ordered_by_name_and_files_too(tmp_path):
    write_images(tmp_path / "naevus", 7)
    write_images(tmp_path / "10_benign", 1, 2, 3)
    write_images(tmp_path / ".hidden", 9)
    write_images(tmp_path / "__MACOSX", 9)
    (tmp_path / "10_benign" / ".DS_Store").write_bytes(b"x")
    (tmp_path / "readme.txt").write_text("no class")
    found = list_images(tmp_path, "train")
    assert found.class_folders == ("10_benign", "naevus")
    assert found.find_class_names() == ("10 benign", "naevus")
    assert list(found.classes) == [0, 0, 0, 1]
    assert list(found.load([3, 0, 2], PREPROCESSING)[:, 0, 0, 0]) == [7, 1, 3]


def test_a_split_folder_gives_the_part_that_is_asked_for(tmp_path):
    write_images(tmp_path / "train" / "a", 1)
    write_images(tmp_path / "train" / "b", 2)
    write_images(tmp_path / "test" / "a", 3, 4)
    write_images(tmp_path / "test" / "b", 5)
    assert len(list_images(tmp_path, "train").files) == 2
    assert list(list_images(tmp_path, "test").load(range(3), PREPROCESSING)[:, 0, 0, 0]) == [
        3,
        4,
        5,
    ]


def test_a_card_gives_order_names_template_and_what_to_credit(tmp_path):
    write_images(tmp_path / "a", 1)
    write_images(tmp_path / "b", 2)
    write_images(tmp_path / "left_out", 3)
    write_card(
        tmp_path,
        {"b": "the second", "a": "the first"},
        title="Set, subset",
        licence={"id": "MIT", "file": "LICENSE"},
        citation=["One.", "Two."],
        sources=[{"repo": "someone/set", "commit": "0"}],
    )
    found = list_images(tmp_path, "train")
    assert found.find_class_names() == ("the second", "the first")
    assert list(found.load(range(2), PREPROCESSING)[:, 0, 0, 0]) == [2, 1]
    assert found.card is not None
    assert found.card.prompt_template == "A {}."
    credit = found.card.training_set
    assert (credit.name, credit.licence, credit.citation) == ("Set, subset", "MIT", "One. Two.")
    assert credit.source == "https://github.com/someone/set"


def test_a_file_that_is_no_image_is_named_by_its_place_alone(tmp_path):
    write_images(tmp_path / "a", 1, 2)
    write_images(tmp_path / "b", 3, 4)
    bad = tmp_path / "b" / "0x-Jane-Doe.dcm"
    bad.write_text("a letter")
    found = list_images(tmp_path, "train")
    found.load([0, 2, 4], PREPROCESSING)  # not read, not refused
    with pytest.raises(
        UnusableImage, match=r"^File 2 of class folder 'b' cannot be used"
    ) as caught:
        found.load(range(5), PREPROCESSING)
    assert "Jane" not in str(caught.value)
    assert caught.value.path == bad


def test_a_file_that_is_no_image_is_replaced_among_those_to_learn_from(tmp_path):
    write_images(tmp_path / "a", 1, 2, 3)
    write_images(tmp_path / "b", 3, 4, 5)
    listed = list_images(tmp_path, "train")
    lost = int(Shots(listed.classes, 2, 0).chosen[0])
    good = listed.load(range(6), PREPROCESSING)
    listed.files[lost].write_text("a letter")
    shots = Shots(listed.classes, 2, 0)
    pixels = listed.load_shots(shots, PREPROCESSING)
    assert (pixels == good[shots.chosen]).all()
    assert list(shots.unusable) == [lost]


def test_a_folder_that_holds_no_labelled_images_is_a_sentence(tmp_path):
    with pytest.raises(UnusableFolder, match="there is none"):
        list_images(tmp_path / "absent", "train")
    with pytest.raises(UnusableFolder, match="one folder for each class"):
        list_images(tmp_path, "train")
    write_images(tmp_path / "a", 1)
    (tmp_path / "b").mkdir()
    with pytest.raises(UnusableFolder, match=r"no images in .*b\."):
        list_images(tmp_path, "train")


def test_a_split_that_is_missing_is_a_sentence(tmp_path):
    write_images(tmp_path / "train" / "a", 1)
    with pytest.raises(UnusableFolder, match="no 'test' part"):
        list_images(tmp_path, "test")


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        "[" * 100_000,
        json.dumps({"name": "x", "classes": {"a": "a"}, "prompt_template": "x"}),
    ],
)
def test_a_card_that_is_none_is_a_sentence(tmp_path, content):
    write_images(tmp_path / "a", 1)
    (tmp_path / "card.json").write_text(content)
    with pytest.raises(UnusableFolder, match=r"card .* is not valid"):
        list_images(tmp_path, "train")


def test_the_real_sets_are_read_in_the_order_of_their_cards(data_folder):
    found = list_images(data_folder / "kermany_cxr", "test")
    assert found.class_folders == ("normal", "bacterial_pneumonia", "viral_pneumonia")
    assert list(np.bincount(found.classes)) == [50, 50, 50]


JUNK = ["Thumbs.db", "ehthumbs.db", "desktop.ini", ".DS_Store", "README", "readme.txt", "README.md"]


def test_files_that_desktops_leave_are_left_out_with_a_count(tmp_path):
    write_images(tmp_path / "a", 1, 2)
    write_images(tmp_path / "b", 3)
    for name in JUNK:
        (tmp_path / "a" / name).write_bytes(b"no image")
    (tmp_path / "b" / "THUMBS.DB").write_bytes(b"no image")
    found = list_images(tmp_path, "train")
    assert found.left_out == len(JUNK) + 1
    assert found.load(range(3), PREPROCESSING).shape == (3, 3, 8, 8)


@pytest.mark.parametrize(
    "name", ["readme_scan.png", "README.png", "thumbs.dcm", "license-plate.jpg"]
)
def test_images_with_such_names_stay(tmp_path, name):
    write_images(tmp_path / "a", 1)
    Image.new("L", (8, 8)).save(tmp_path / "a" / name, "PNG")
    found = list_images(tmp_path, "train")
    assert (len(found.files), found.left_out) == (2, 0)


def test_folders_of_the_field_are_read(data_folder):
    found = list_images(data_folder / "field_files" / "folders" / "thumbs", "train")
    assert (found.class_folders, len(found.files), found.left_out) == (
        ("brain_mri", "chest_ct"),
        8,
        1,
    )
    assert found.load(range(8), PREPROCESSING).shape == (8, 3, 8, 8)
