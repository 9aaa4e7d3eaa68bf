import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from models.catalogue import UnknownModel, load_catalogue
from models.catalogue.cards import InvalidCard, ModelCard, Preprocessing, load_card, parse_card
from models.catalogue.texts import create_text
from models.testing import create_linear_model, write_linear_model

CARD = """
id = "pathology"
name = "Pathology"
description = "d"
intended_use = "u"
licence = "MIT"
source = "s"
architecture = "open_clip"
context_length = 77
class_names = ["benign", "malignant"]
template = "An H&E image patch of {}."
tau = { cuda = 0.0625 }

[preprocessing]
size = 224
mean = [0.48145466, 0.4578275, 0.40821073]
std = [0.26862954, 0.26130258, 0.27577711]

[[files]]
name = "b.safetensors"
sha256 = "bb00000000000000000000000000000000000000000000000000000000000000"
size_bytes = 2

[[files]]
name = "a.json"
sha256 = "aa00000000000000000000000000000000000000000000000000000000000000"
size_bytes = 1
"""


def test_card_keeps_the_default_of_a_device_class_it_does_not_name():
    card = parse_card(CARD)
    assert card.tau == {"cpu": None, "cuda": 0.0625}
    assert card.batch_size == {"cpu": 64, "cuda": 256}
    assert card.precision == {"cpu": "fp32", "cuda": "bf16"}


def test_card_is_frozen():
    card = parse_card(CARD)
    with pytest.raises(ValidationError):
        card.id = "other"


def test_card_survives_a_round_trip_through_json():
    card = parse_card(CARD)
    assert ModelCard.model_validate_json(card.model_dump_json()) == card


def test_card_digest_depends_on_every_file_and_not_on_their_order():
    card = parse_card(CARD)
    backwards = card.model_copy(update={"files": card.files[::-1]})
    changed = parse_card(CARD.replace('"aa00', '"ab00'))
    renamed = parse_card(CARD.replace("a.json", "c.json"))
    assert backwards.sha256 == card.sha256
    assert len({card.sha256, changed.sha256, renamed.sha256}) == 3


@pytest.mark.parametrize(
    "change",
    [
        {"context_length": 78},
        {"architecture": "linear"},
        {"batch_size": {"cpu": 63, "cuda": 256}},
        {"tau": {"cpu": 0.001, "cuda": 0.0}},
        {"precision": {"cpu": "fp32", "cuda": "fp32"}},
        {"preprocessing": Preprocessing(size=224, mean=(0.1, 0.2, 0.3), std=(0.5, 0.5, 0.5))},
    ],
)
def test_card_digest_depends_on_all_that_moves_a_vote(change):
    """Or certificates of two classifiers would share noise, counts and a name."""
    card = parse_card(CARD)
    assert card.model_copy(update=change).sha256 != card.sha256


def test_the_digest_of_an_image_classifier_covers_which_logit_is_whose():
    """Or votes of two opposite f would be added up; a VLM reads the names in the request."""
    fields = {"architecture": "onnx", "template": "{}", "class_names": ("normal", "opacity")}
    network = parse_card(CARD).model_copy(update=fields)
    turned = network.model_copy(update={"class_names": ("opacity", "normal")})
    assert turned.sha256 != network.sha256
    vlm = parse_card(CARD)
    assert vlm.model_copy(update={"class_names": ("opacity", "normal")}).sha256 == vlm.sha256


def test_card_digest_does_not_depend_on_words():
    card = parse_card(CARD)
    assert card.model_copy(update={"description": "other", "evaluation": ()}).sha256 == card.sha256


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        ("patch of {}.", "patch.", "exactly once; 'An H&E image patch.' contains it 0 times"),
        ("patch of {}.", "{} {}", "contains it 2 times"),
        ('["benign", "malignant"]', '["benign"]', "Expected at least two class names, got 1"),
        ('"malignant"]', '"benign"]', "'benign' occurs more than once"),
        ('"malignant"]', '" "]', "A class name must be one line and not blank"),
        ('"malignant"]', '"a\\nb"]', "must be one line"),
        ('"malignant"]', '"a\\u0000b"]', "must be one line"),
        ('licence = "MIT"', 'license = "MIT"', "license Extra inputs are not permitted"),
        ("size = 224", "size = 0", "greater than or equal to 1"),
        ("0.26862954", "0.0", "greater than 0"),
        ("0.48145466", "nan", "finite number"),
        ("a.json", "../a.json", "should match pattern"),
        ("cuda = 0.0625", "tpu = 0.0625", "'cpu' or 'cuda'"),
        ('id = "pathology"', 'id = "a/b"', "should match pattern"),
        ("name = ", "name : ", "Expected '='"),
    ],
)
def test_card_that_breaks_a_rule_is_refused_with_a_sentence(tmp_path, before, after, sentence):
    assert before in CARD
    path = tmp_path / "card.toml"
    path.write_text(CARD.replace(before, after, 1))
    with pytest.raises(InvalidCard) as refusal:
        load_card(path)
    assert str(path) in str(refusal.value)
    assert sentence in str(refusal.value)


def test_text_keeps_other_braces_of_the_template():
    assert create_text("{a} {} {b}", "{}x") == "{a} {}x {b}"


def test_catalogue_finds_cards_in_folders_and_beside_folders(tmp_path):
    write_linear_model(tmp_path, create_linear_model(), model_id="inside")
    (tmp_path / "any.toml").write_text(CARD)
    catalogue = load_catalogue(tmp_path)
    ids = [card.id for card in catalogue.list()]
    assert ids == sorted(ids)
    assert {"bundled-2", "inside", "pathology"} == set(ids)
    assert catalogue.folder("inside") == tmp_path / "inside"
    assert catalogue.folder("pathology") == tmp_path / "pathology"
    assert catalogue.get("pathology") == parse_card(CARD)


def test_catalogue_names_the_models_it_knows_when_asked_for_another(tmp_path):
    write_linear_model(tmp_path, create_linear_model(), model_id="inside")
    with pytest.raises(UnknownModel, match=r"no model 'none'\. .* bundled-2, inside\."):
        load_catalogue(tmp_path).get("none")


def test_catalogue_refuses_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(NotADirectoryError, match="nowhere"):
        load_catalogue(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "module",
    [
        "models.catalogue.cards",
        "models.catalogue.catalogue",
        "models.catalogue.availability",
        "models.catalogue.weights",
        "models.testing",
    ],
)
def test_cards_and_weights_need_no_torch(module):
    program = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[3])
