"""Dataset cards, the folders they are about, and the choice of test images."""

import random
from collections import Counter
from pathlib import Path

import pytest

from models.datasets.card import (
    DatasetCard,
    DatasetClass,
    InvalidDataset,
    UnknownDataset,
    describe_folder,
    get_dataset,
    list_datasets,
    load_dataset_card,
)
from models.datasets.files import list_dataset
from models.datasets.image_folder import UnusableFolder
from models.datasets.subset import choose_subset, listing_sha256

IDS = ["covid", "kather-colon", "pannuke", "rsna18", "sicapv2", "skincancer"]


def fill(folder: Path, files: dict[str, int]) -> None:
    """Class folders with so many files each, made in no order."""
    paths = [folder / name / f"{i}.png" for name, count in files.items() for i in range(count)]
    random.Random(0).shuffle(paths)
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(str(path).encode())


def create_card(*folders: str, **changes: object) -> DatasetCard:
    fields = {
        "id": "toy",
        "name": "Toy",
        "classes": tuple(DatasetClass(folder=f, name=f"class {f}") for f in folders),
        "split": "none",
        "source": "this test",
        "licence": "none",
    }
    return DatasetCard(**(fields | changes))


def test_the_six_datasets_of_the_paper_have_a_card_each():
    assert [card.id for card in list_datasets()] == IDS
    for card in list_datasets():
        assert card.template is not None
        assert "brought by the user" in card.licence
        assert "2408.16769" in card.citations[0]


def test_classes_stand_in_the_order_of_the_paper():
    assert get_dataset("kather-colon").class_names[8] == "colorectal adenocarcinoma epithelium"
    assert get_dataset("sicapv2").class_names[0] == "benign glands"
    assert get_dataset("rsna18").class_names[2] == "Normal"
    skin = get_dataset("skincancer")
    assert [one.folder for one in skin.classes] == [str(i) for i in range(16)]
    assert (skin.class_names[2], skin.class_names[10]) == ("eccrine sweat glands", "dermis")


@pytest.mark.parametrize("dataset_id", ["covid", "rsna18"])
def test_a_template_that_is_documented_nowhere_is_said_to_be_ours(dataset_id):
    assert any("template is ours" in note for note in get_dataset(dataset_id).notes)


def test_an_unknown_dataset_is_answered_with_the_known_ones():
    with pytest.raises(UnknownDataset, match="kather-colon"):
        get_dataset("kather")


def test_numbered_class_folders_take_the_names_of_the_card_as_numbers_do(tmp_path: Path):
    """Folder 10 is not between 1 and 2."""
    fill(tmp_path / "test", {str(i): 1 for i in range(16)})
    classes = list_dataset(tmp_path, get_dataset("skincancer"), "test")
    assert [files[0].name for files in classes] == [f"{i}/0.png" for i in range(16)]
    with pytest.raises(UnusableFolder, match="are numbers, so the class names are unknown"):
        describe_folder(tmp_path, "test")


def test_named_class_folders_are_ordered_by_name_and_lose_their_underscores(tmp_path: Path):
    fill(tmp_path, {"soft_tissue": 1, "bone": 1, "10": 1})
    assert describe_folder(tmp_path, "test").class_names == ("10", "bone", "soft tissue")
    assert describe_folder(tmp_path, "test").template is None


def test_a_folder_with_one_split_is_described_by_that_split(tmp_path: Path):
    fill(tmp_path / "train", {"bone": 1, "air": 1})
    assert describe_folder(tmp_path, "train").class_names == ("air", "bone")
    with pytest.raises(UnusableFolder, match="no 'test' part"):
        describe_folder(tmp_path, "test")


def test_a_listing_does_not_depend_on_the_file_system(tmp_path: Path, monkeypatch):
    fill(tmp_path / "test", {"a": 12, "b": 12})
    card = create_card("a", "b")
    usual = list_dataset(tmp_path, card, "test")
    iterdir = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda self: iter(sorted(iterdir(self), reverse=True)))
    assert list_dataset(tmp_path, card, "test") == usual
    names = [file.name for file in usual[0]]
    assert names == sorted(names)


def test_an_image_split_by_row_is_refused(tmp_path: Path):
    """rsna18 lists an image once for each of its boxes: by row it would lie in both splits."""
    card = create_card("a", "b", names_identify_images=True)
    fill(tmp_path / "test", {"a": 1, "b": 1})
    fill(tmp_path / "train", {"a": 1, "b": 1})
    for place, name in enumerate(("test/a", "test/b", "train/a", "train/b")):
        (tmp_path / name / "0.png").rename(tmp_path / name / f"patient{place}.png")
    assert len(list_dataset(tmp_path, card, "test")) == 2
    (tmp_path / "train/a/patient1.dcm").write_text("")
    with pytest.raises(UnusableFolder, match="split by image"):
        list_dataset(tmp_path, card, "test")
    assert get_dataset("rsna18").names_identify_images


@pytest.mark.parametrize("text", ['id = "mine"', "id = " + "[" * 9999])
def test_a_card_that_breaks_a_rule_is_refused_with_its_path(tmp_path: Path, text: str):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(InvalidDataset, match=r"mine\.toml"):
        load_dataset_card(path)


def test_a_folder_with_one_class_is_no_dataset(tmp_path: Path):
    fill(tmp_path, {"a": 2})
    with pytest.raises(UnusableFolder, match="two class names"):
        describe_folder(tmp_path, "test")


def test_classes_take_turns_and_a_short_one_ends_no_turn(tmp_path: Path):
    fill(tmp_path, {"a": 2, "b": 9, "c": 5})
    classes = list_dataset(tmp_path, create_card("a", "b", "c"), "test")
    chosen = choose_subset(classes, 12)
    assert [file.class_index for file in chosen] == [0, 1, 2, 0, 1, 2, 1, 2, 1, 2, 1, 2]
    assert len(choose_subset(classes, 1000)) == 16
    assert len({file.name for file in choose_subset(classes, 1000)}) == 16


def test_a_smaller_choice_begins_a_larger_and_another_seed_chooses_others(tmp_path: Path):
    fill(tmp_path, {"a": 50, "b": 50})
    classes = list_dataset(tmp_path, create_card("a", "b"), "test")
    chosen = choose_subset(classes, 40)
    assert choose_subset(classes, 10) == chosen[:10]
    assert set(choose_subset(classes, 40, seed=4)) != set(chosen)
    numbers = [int(file.path.stem) for file in chosen]
    assert numbers != sorted(numbers), "a choice is no beginning of the alphabet"


def test_a_subset_is_the_same_on_every_machine(tmp_path: Path):
    """Frozen: a change here means that results so far were of other images."""
    fill(tmp_path, {"a": 9, "b": 9})
    chosen = choose_subset(list_dataset(tmp_path, create_card("a", "b"), "test"), 6)
    names = ["a/6.png", "b/2.png", "a/8.png", "b/1.png", "a/3.png", "b/8.png"]
    assert [file.name for file in chosen] == names


def test_a_listing_is_identified_by_its_contents(tmp_path: Path):
    fill(tmp_path, {"a": 3, "b": 3})
    files = choose_subset(list_dataset(tmp_path, create_card("a", "b"), "test"), 6)
    before = listing_sha256(files)
    assert listing_sha256(files[:5]) != before
    assert listing_sha256(files[::-1]) != before
    files[0].path.write_bytes(b"another image")
    assert listing_sha256(files) != before


def test_the_image_sets_are_described_by_their_own_cards(data_folder: Path):
    card = describe_folder(data_folder / "lc25000_clean", "test")
    assert card.class_names[4] == "lung squamous cell carcinoma"
    assert card.template == "An H&E image patch of {}."
    classes = list_dataset(data_folder / "lc25000_clean", card, "test")
    chosen = choose_subset(classes, 60)
    assert set(Counter(file.class_index for file in chosen).values()) == {12}
