"""Known, added, overriding: what the catalogue says of models whose weights do not ship."""

import os

import pytest
import tomli_w
from logged import list_events

from models.catalogue import (
    ModelNotAdded,
    ModelNotValid,
    UnknownModel,
    load_catalogue,
    warn_of_cards,
)
from models.catalogue.availability import Missing, Present, Wrong, judge_presence
from models.catalogue.cards import InvalidCard, ModelCard, parse_card, parse_description
from models.testing import create_linear_model, write_linear_model

CLIPS = ["plip", "pubmedclip", "quiltnet-b16", "quiltnet-b32"]


def test_bundled_model_keeps_its_digest():
    """Certificates that were issued name it."""
    card = load_catalogue().get("bundled-2")
    assert card.sha256 == "104c4c682dd6257d64f2e0c8ec7f78c2256fefb2608fff15f7a87037e64c269e"
    assert card.weights_sha256 == (
        "81b6385dd7c77d6d5a08f710e1f284075d7951b51ef7ea8f74afb99b924095d0"
    )


def test_what_is_said_of_where_weights_came_from_is_no_part_of_the_digest(tmp_path):
    card = write_linear_model(tmp_path, create_linear_model())
    origin = {"form": "hf-clip", "files": card.files, "revision": "1"}
    published = {"form": "hf-clip", "model_cfg": {"embed_dim": 1}}
    changed = {"origin": origin, "published": published, "activation": "gelu"}
    assert ModelCard(**(card.model_dump() | changed)).sha256 == card.sha256


@pytest.mark.parametrize("model_id", CLIPS)
def test_model_whose_weights_do_not_ship_is_known_and_missing(model_id):
    catalogue = load_catalogue()
    described = catalogue.describe(model_id)
    assert described in catalogue.list_not_added()
    assert model_id not in {card.id for card in catalogue.list()}
    for ask in (catalogue.get, catalogue.folder, catalogue.find_own_card):
        with pytest.raises(ModelNotAdded, match=f"Get them from {described.source} and run: .*"):
            ask(model_id)
    assert judge_presence(catalogue, model_id) == Missing(
        reason=f"not added yet; get it from {described.source}"
    )


@pytest.mark.parametrize("model_id", CLIPS)
def test_known_clip_pins_what_tensors_do_not_tell(model_id):
    described = load_catalogue().describe(model_id)
    published = described.published
    assert published is not None
    assert described.activation == "quick_gelu"
    assert published.model_cfg["quick_gelu"] is True
    assert described.context_length == published.model_cfg["text_cfg"]["context_length"] == 77
    assert described.preprocessing.size == published.model_cfg["vision_cfg"]["image_size"] == 224


def add_own(folder, model_id: str, **changes: object) -> ModelCard:
    """An own card of a known id; its files are those of a toy, so nothing here loads them."""
    toy = write_linear_model(folder, create_linear_model(), model_id=model_id)
    described = load_catalogue().describe(model_id)
    fields = described.model_dump(mode="json", exclude_none=True)
    files = [file.model_dump() for file in toy.files]
    own = {**fields, "files": files, **changes}
    (folder / model_id / "card.toml").write_text(tomli_w.dumps(own))
    return ModelCard.model_validate(own)


def test_own_card_stands_in_the_place_of_the_description(tmp_path):
    own = add_own(tmp_path, "plip", name="Our PLIP")
    catalogue = load_catalogue(tmp_path)
    assert catalogue.get("plip") == own
    assert catalogue.describe("plip").name == "PLIP"
    assert catalogue.find_own_card("plip") == tmp_path / "plip" / "card.toml"
    assert "plip" not in {described.id for described in catalogue.list_not_added()}
    assert judge_presence(catalogue, "plip") == Present()


def test_own_card_of_known_weights_names_their_activation(tmp_path):
    add_own(tmp_path, "plip", activation="gelu")
    with pytest.raises(ModelNotValid, match=r"with the activation quick_gelu, .* it names gelu"):
        load_catalogue(tmp_path).get("plip")


@pytest.mark.parametrize("text", ["id = ", 'id = "spoilt"\nname = 3', "\x00", "id = " + "[" * 9999])
def test_a_bad_card_makes_its_own_model_unusable_and_no_other(tmp_path, text):
    write_linear_model(tmp_path, create_linear_model(), model_id="good")
    write_linear_model(tmp_path, create_linear_model(), model_id="spoilt")
    path = tmp_path / "spoilt" / "card.toml"
    path.write_text(text)
    catalogue = load_catalogue(tmp_path)
    assert [card.id for card in catalogue.list()] == ["bundled-2", "good"]
    for ask in (catalogue.get, catalogue.folder, catalogue.find_own_card, catalogue.describe):
        with pytest.raises(ModelNotValid, match=rf"'spoilt' is not served: .*{path} is not valid"):
            ask("spoilt")
    with pytest.raises(UnknownModel, match="Known models: bundled-2, good"):
        catalogue.get("other")


def test_a_bad_card_is_one_warning_when_a_process_starts(tmp_path, caplog):
    write_linear_model(tmp_path, create_linear_model(), model_id="good")
    (tmp_path / "spoilt.toml").write_text("id = ")
    warn_of_cards(load_catalogue(tmp_path))
    (event,) = list_events(caplog)
    assert (event["event"], event["model"]) == ("model_card_invalid", "spoilt")
    assert str(tmp_path / "spoilt.toml") in event["reason"]


def test_two_cards_of_one_id_are_both_refused_for_nobody_can_say_which_was_meant(tmp_path):
    for name in ("one", "two", "three", "bundled-2"):
        write_linear_model(tmp_path, create_linear_model(), model_id=name)
    text = (tmp_path / "one" / "card.toml").read_text()
    for name in ("two", "three"):
        (tmp_path / name / "card.toml").write_text(text)
    catalogue = load_catalogue(tmp_path)
    assert catalogue.list() == ()
    for model_id in ("one", "bundled-2"):
        with pytest.raises(ModelNotValid, match=f"another card already has the id '{model_id}'"):
            catalogue.get(model_id)
    with pytest.raises(InvalidCard, match="another card already has the id 'one'"):
        catalogue.check_addition(parse_card(text), tmp_path / "new.toml")


def test_presence_says_what_is_missing_and_what_is_wrong(tmp_path):
    add_own(tmp_path, "plip")
    file = tmp_path / "plip" / "linear.safetensors"
    size = file.stat().st_size
    file.write_bytes(b"short")
    wrong = judge_presence(load_catalogue(tmp_path), "plip")
    assert isinstance(wrong, Wrong)
    assert f"expected {size} bytes, found 5 bytes" in wrong.reason
    file.unlink()
    missing = judge_presence(load_catalogue(tmp_path), "plip")
    assert isinstance(missing, Missing)
    assert f"linear.safetensors is missing; it is expected at {file}" in missing.reason


def test_catalogue_leaves_alone_what_is_not_finished(tmp_path):
    write_linear_model(tmp_path, create_linear_model())
    (tmp_path / "linear").rename(tmp_path / ".adding-linear")
    (tmp_path / ".begun.toml").write_text("id = ")
    assert [card.id for card in load_catalogue(tmp_path).list()] == ["bundled-2"]


def test_description_becomes_a_card_where_files_are_named(tmp_path):
    write_linear_model(tmp_path, create_linear_model())
    text = (tmp_path / "linear" / "card.toml").read_text()
    assert isinstance(parse_description(text), ModelCard)
    described = parse_description(text[: text.index("[[files]]")])
    assert not isinstance(described, ModelCard)
    assert described.id == "linear"


def _pipe(folder):
    os.mkfifo(folder / "card.toml")


def _dead_link(folder):
    (folder / "card.toml").symlink_to(folder / "nowhere")


def _long(folder):
    (folder / "card.toml").write_bytes(b"#" * (2**20 + 1))


def _closed(folder):
    (folder / "card.toml").write_text("")
    folder.chmod(0)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_pipe, "it is not a regular file"),
        (_dead_link, "No such file"),
        (_long, "at most 1048576 bytes"),
        pytest.param(
            _closed,
            "Permission denied",
            marks=pytest.mark.skipif(
                os.geteuid() == 0, reason="root may read everything (run it as another user)"
            ),
        ),
    ],
)
def test_a_card_that_cannot_be_read_is_said_and_holds_nobody_up(tmp_path, spoil, said):
    (tmp_path / "spoilt").mkdir()
    spoil(tmp_path / "spoilt")
    catalogue = load_catalogue(tmp_path)
    assert said in str(catalogue.invalid["spoilt"])
    assert [card.id for card in catalogue.list()] == ["bundled-2"]
    (tmp_path / "spoilt").chmod(0o755)
