"""promptsmooth models: what is added is listed, checked, bundled, removed; errors are sentences."""

import json
from pathlib import Path

import pytest
import tomli_w
from typer.testing import CliRunner

from app.cli.__main__ import cli
from models.catalogue import load_catalogue
from models.catalogue.cards import parse_description
from models.installation.archive import write_bundle
from models.installation.folder import begin_folder
from models.testing import create_linear_model, write_linear_model

BUNDLED = Path(__file__).parents[3] / "models" / "bundled" / "vlm"


def test_every_model_is_listed_with_the_state_of_its_files(tmp_path, monkeypatch):
    for name in ("here", "gone", "other"):
        write_linear_model(tmp_path, create_linear_model(), model_id=name)
    (tmp_path / "gone" / "linear.safetensors").unlink()
    (tmp_path / "other" / "linear.safetensors").write_bytes(b"short")
    monkeypatch.setenv("PROMPTSMOOTH_MODELS", str(tmp_path))
    shown = CliRunner().invoke(cli, ["models", "list"])
    assert shown.exit_code == 0
    rows = [line.split() for line in shown.stdout.splitlines()]
    for name, state in [("here", "present"), ("gone", "missing"), ("other", "wrong")]:
        (row,) = (row for row in rows if name in row)
        assert state in row
        assert "Apache-2.0" in row
    assert any("bundled-2" in row and "CC-BY-SA-4.0" in row for row in rows)


@pytest.mark.parametrize("arguments", [["check", "nothing"], ["measure-eta", "nothing"]])
def test_what_is_not_there_is_one_sentence_and_exit_status_2(arguments, tmp_path, monkeypatch):
    monkeypatch.setenv("PROMPTSMOOTH_MODELS", str(tmp_path / "absent"))
    shown = CliRunner().invoke(cli, ["models", *arguments])
    assert shown.exit_code == 2
    assert shown.stderr.count("\n") == 1
    assert "absent" in shown.stderr


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("PROMPTSMOOTH_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


def run(*arguments: object, answer: str | None = None):
    return CliRunner().invoke(cli, ["models", *map(str, arguments)], input=answer)


def require_sentence(shown, *said: str) -> None:
    assert shown.exit_code == 2, shown.output
    assert shown.stderr.startswith("promptsmooth: ")
    assert shown.stderr.count("\n") == 1
    for text in said:
        assert text in shown.stderr


def write_description(hf_clip, path) -> None:
    fields = hf_clip.description.model_dump(mode="json", exclude_none=True)
    path.write_text(tomli_w.dumps(fields))


def test_known_model_is_listed_with_what_is_missing(folder):
    folder.mkdir()
    shown = run("list").stdout
    assert "plip: not added yet; get it from https://huggingface.co/vinid/plip" in shown
    write_linear_model(folder, create_linear_model())
    (folder / "linear" / "linear.safetensors").unlink()
    shown = run("list").stdout
    assert f"expected at {folder / 'linear' / 'linear.safetensors'}" in shown


def test_model_is_added_listed_checked_bundled_and_removed(folder, tmp_path, hf_clip):
    published, card = hf_clip.write(tmp_path / "published"), tmp_path / "card.toml"
    write_description(hf_clip, card)
    added = run("add", "small-plip", f"local-dir:{published}", "--card", card)
    assert (added.exit_code, added.stderr.count("PROMPTSMOOTH_SERVE_MODELS")) == (0, 1)
    digest = load_catalogue(folder).get("small-plip").sha256
    assert digest in added.stdout
    require_sentence(run("add", "small-plip", published), "models remove small-plip")
    report = json.loads(run("check", "small-plip", "--json").stdout)
    assert report["sha256"] == digest
    assert report["tensors"] == len(hf_clip.model.state_dict()) - 2 * 2 * 4  # q, k, v become one
    assert report["activation"]["declared"] == "quick_gelu"
    assert report["activation"]["images_moved"] > 1e-3
    assert report["certification"]["samples"] == 64
    assert report["accuracy"] is None
    assert run("bundle", "small-plip", tmp_path / "small.tar").exit_code == 0
    assert run("remove", "small-plip", answer="n\n").exit_code == 1
    assert run("remove", "small-plip", answer="y\n").exit_code == 0
    assert list(folder.iterdir()) == []
    assert run("add", "small-plip", tmp_path / "small.tar").exit_code == 0
    assert load_catalogue(folder).get("small-plip").sha256 == digest


def test_a_model_that_nobody_described_is_added_by_a_drafted_card(folder, tmp_path, hf_clip):
    """As the refusal says: the draft lacks only what its owner knows, and is refused without it."""
    published, card = hf_clip.write(tmp_path / "published"), tmp_path / "our-vlm.toml"
    asked = run("add", "our-vlm", published)
    require_sentence(asked, "models card PATH --id our-vlm > our-vlm.toml", "--card our-vlm.toml")
    card.write_text(run("card", published, "--id", "our-vlm").stdout)
    require_sentence(run("add", "our-vlm", published, "--card", card), "class_names")
    names = ["--class-name", "benign", "--class-name", "malignant"]
    card.write_text(run("card", published, "--id", "our-vlm", *names).stdout)
    added = run("add", "our-vlm", published, "--card", card)
    assert added.exit_code == 0, added.stderr
    made, described = load_catalogue(folder).get("our-vlm"), hf_clip.description
    assert made.preprocessing == described.preprocessing
    assert (made.activation, made.context_length) == (described.activation, 77)
    assert made.class_names == ("benign", "malignant")
    assert made.published.form == "hf-clip"


@pytest.mark.parametrize("form", ["open_clip", "no preprocessing", "weights alone", "another"])
def test_a_draft_states_what_the_files_state_and_says_what_they_leave_open(tmp_path, form):
    config = json.loads((BUNDLED / "open_clip_config.json").read_text())
    path = tmp_path / "Our VLM"
    path.mkdir()
    (path / "open_clip_model.safetensors").write_bytes(b"")
    if form == "no preprocessing":
        del config["preprocess_cfg"]
    if form == "another":
        config["preprocess_cfg"]["interpolation"] = "nearest"
    if form != "weights alone":
        (path / "open_clip_config.json").write_text(json.dumps(config))
    names = ["--class-name", "a", "--class-name", "b", "--template", "A {}."]
    shown = run("card", path, *names)
    if form == "weights alone":
        return require_sentence(shown, "Expected open_clip_config.json", "state no architecture")
    if form == "another":
        return require_sentence(shown, "preprocess_cfg", "interpolation")
    drafted, card = parse_description(shown.stdout), load_catalogue().get("bundled-2")
    assert (drafted.id, drafted.template, drafted.class_names) == ("our-vlm", "A {}.", ("a", "b"))
    assert drafted.published.model_cfg == config["model_cfg"]
    assert (drafted.context_length, drafted.activation) == (77, "gelu")
    stated = form == "open_clip"
    assert ("library's defaults" in shown.stdout) != stated
    assert (drafted.preprocessing == card.preprocessing) == stated
    return None


def test_a_list_is_printed_for_programs_too(folder):
    write_linear_model(folder, create_linear_model())
    (folder / "spoilt.toml").write_text("id = ")
    rows = {row["id"]: row for row in json.loads(run("list", "--json").stdout)}
    assert rows["linear"]["files"] == "present"
    assert rows["linear"]["sha256"] == load_catalogue(folder).get("linear").sha256
    assert (rows["plip"]["files"], rows["plip"]["sha256"]) == ("missing", "")
    assert "huggingface.co/vinid/plip" in rows["plip"]["reason"]
    assert rows["spoilt"]["files"] == "not valid"


def test_what_cannot_be_added_is_one_sentence_and_leaves_nothing(folder, tmp_path, hf_clip):
    published, card = hf_clip.write(tmp_path / "published"), tmp_path / "card.toml"
    write_description(hf_clip, card)
    require_sentence(run("add", "plip", published), "embed_dim: expected 512, found 24")
    require_sentence(run("add", "none", published), "no model 'none'")
    require_sentence(run("add", "plip", tmp_path / "nowhere"), "nowhere does not exist")
    require_sentence(run("add", "other", published, "--card", card), "'small-plip'", "'other'")
    require_sentence(run("add", "plip", tmp_path), "come as a folder with CLIPModel's config.json")
    assert not folder.exists() or list(folder.iterdir()) == []


def test_list_comes_before_the_folder_and_says_that_add_makes_it(folder):
    shown = run("list")
    assert shown.exit_code == 0
    assert "bundled-2" in shown.stdout
    assert f"{folder} does not exist yet; promptsmooth models add creates it." in shown.stdout
    folder.write_text("a file")
    require_sentence(run("list"), "is not a folder")


def test_list_says_which_card_is_bad_and_shows_the_others(folder):
    write_linear_model(folder, create_linear_model())
    (folder / "spoilt.toml").write_text("id = ")
    shown = run("list")
    assert shown.exit_code == 0
    assert any("linear" in line and "present" in line for line in shown.stdout.splitlines())
    assert any("spoilt" in line and "not valid" in line for line in shown.stdout.splitlines())
    assert f"{folder / 'spoilt.toml'} is not valid: " in shown.stdout
    require_sentence(run("check", "spoilt"), "'spoilt' is not served", "spoilt.toml is not valid")


@pytest.mark.parametrize("name", ["", "../x", "/tmp/x", ".hidden", "Big", "a" * 65, "a\n"])
def test_what_is_no_id_is_said_before_anything_is_touched(folder, tmp_path, name):
    write_linear_model(tmp_path / "from", create_linear_model())
    archive = tmp_path / "linear.tar"
    write_bundle(
        load_catalogue(tmp_path / "from").get("linear"), tmp_path / "from" / "linear", archive
    )
    require_sentence(run("add", name, archive), "A model id has 1 to 64 lowercase letters", "got ")
    with pytest.raises(ValueError, match="A model id has"), begin_folder(folder, name):
        pass
    assert not folder.exists()
    assert {path.name for path in tmp_path.iterdir()} == {"from", "linear.tar"}


def test_an_archive_takes_no_card_and_no_configuration(folder, tmp_path, hf_clip):
    write_linear_model(tmp_path / "from", create_linear_model())
    archive, card = tmp_path / "linear.tar", tmp_path / "card.toml"
    write_bundle(
        load_catalogue(tmp_path / "from").get("linear"), tmp_path / "from" / "linear", archive
    )
    write_description(hf_clip, card)
    for option in ("--card", "--config"):
        require_sentence(run("add", "linear", archive, option, card), "leave out --card and --conf")
    assert not folder.exists()


def test_help_names_every_family():
    shown = run("add", "--help").stdout
    for name in ("PLIP", "PubMedCLIP", "QuiltNet", "BiomedCLIP", "MedCLIP's zip"):
        assert name in shown


def test_model_that_ships_stays_and_one_never_added_cannot_go(folder, monkeypatch):
    folder.mkdir()
    require_sentence(
        run("remove", "bundled-2", "--yes"), "ships with the service and cannot be removed"
    )
    require_sentence(run("remove", "plip", "--yes"), "'plip' have not been added")
    require_sentence(run("check", "plip"), "'plip' have not been added")
    monkeypatch.delenv("PROMPTSMOOTH_MODELS")
    for command in (("remove", "plip"), ("add", "plip", folder), ("pull", "plip")):
        require_sentence(run(*command), "PROMPTSMOOTH_MODELS is not set")


def test_files_that_no_card_names_are_left_where_they_are(folder):
    write_linear_model(folder, create_linear_model())
    (folder / "linear" / "notes.txt").write_text("ours")
    assert run("remove", "linear", "--yes").exit_code == 0
    assert [path.name for path in (folder / "linear").iterdir()] == ["notes.txt"]


def test_check_refuses_weights_that_are_not_the_cards(folder):
    write_linear_model(folder, create_linear_model())
    file = folder / "linear" / "linear.safetensors"
    file.write_bytes(bytes(file.stat().st_size))
    require_sentence(run("check", "linear"), "linear.safetensors", "expected SHA-256", "found SHA")


@pytest.mark.long
def test_check_counts_the_accuracy_that_the_card_reports(data_folder, monkeypatch):
    monkeypatch.delenv("PROMPTSMOOTH_MODELS", raising=False)
    (reported,) = [
        row
        for row in load_catalogue().get("bundled-2").evaluation
        if (row.data, row.sigma) == ("kermany_cxr test", 0)
    ]
    found = json.loads(
        run("check", "bundled-2", "--data", data_folder / "kermany_cxr", "--json").stdout
    )
    assert found["accuracy"]["images"] == reported.images
    assert found["accuracy"]["declared"] == pytest.approx(reported.accuracy, abs=5e-5)
    assert found["accuracy"]["other"] is None  # the card pins no activation
