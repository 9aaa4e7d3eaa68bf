"""Writing tau changes tau and nothing else."""

import tomllib
from pathlib import Path

import pytest

from models.catalogue.cards import InvalidCard, load_card, parse_card
from models.catalogue.measured import replace_measured, write_measured
from models.testing import create_linear_model, write_linear_model


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_linear_model(tmp_path, create_linear_model())
    return tmp_path / "linear" / "card.toml"


def test_a_written_tau_is_read_again_and_makes_another_classifier(path):
    path.chmod(0o640)
    before = load_card(path)
    after = write_measured(path, "tau", "cpu", 1e-05)
    assert after == load_card(path)
    assert after.tau == {"cpu": 1e-05, "cuda": None}
    assert after.sha256 != before.sha256
    assert after.model_copy(update={"tau": before.tau}) == before
    assert path.stat().st_mode & 0o777 == 0o640
    assert [p.name for p in path.parent.iterdir() if p.name.endswith(".new")] == []


def test_writing_the_other_device_class_keeps_the_first(path):
    write_measured(path, "tau", "cpu", 0.125)
    assert write_measured(path, "tau", "cuda", 0.5).tau == {"cpu": 0.125, "cuda": 0.5}
    assert write_measured(path, "tau", "cpu", 0.0).tau == {"cpu": 0.0, "cuda": 0.5}
    assert path.read_text().count("tau") == 1


@pytest.mark.parametrize(
    "written",
    [
        "tau = { cpu = 0.5, cuda = 0.25 }  # measured",
        "tau={cuda=0.25}",
        "[tau]  # measured\ncpu = 0.5 # here\ncuda = 0.25",
        "[tau]\ncuda = 0.25",
    ],
)
def test_every_way_to_write_a_table_is_edited_in_place(path, written):
    text = path.read_text()
    text = text + written + "\n" if written.startswith("[") else written + "\n" + text
    edited = replace_measured(text, "tau", "cpu", 0.75)
    assert tomllib.loads(edited) == tomllib.loads(text) | {"tau": {"cpu": 0.75, "cuda": 0.25}}
    assert edited.count("#") == text.count("#")
    assert parse_card(edited).tau == {"cpu": 0.75, "cuda": 0.25}


def test_a_text_that_only_looks_like_the_place_is_left_alone(path):
    trap = 'description = """\ntau = { cpu = 9.0 }\nbatch_size = { cpu = 1 }\n"""\n'
    text = "\n".join(
        line for line in path.read_text().split("\n") if not line.startswith("description")
    )
    edited = replace_measured(trap + text, "tau", "cpu", 0.75)
    assert tomllib.loads(edited) == tomllib.loads(trap + text) | {"tau": {"cpu": 0.75}}
    assert edited.startswith(trap)


def test_a_card_without_a_neighbouring_line_gets_the_line_on_top(path):
    lines = path.read_text().split("\n")
    text = "\n".join(line for line in lines if not line.startswith(("batch_size", "precision")))
    assert replace_measured(text, "tau", "cpu", 0.75) == f"tau = {{ cpu = 0.75 }}\n{text}"


def test_lines_that_end_as_on_windows_keep_their_ends(path):
    text = path.read_bytes().replace(b"\n", b"\r\n")
    path.write_bytes(text)
    write_measured(path, "tau", "cpu", 0.75)
    assert path.read_bytes().replace(b"tau = { cpu = 0.75 }\n", b"") == text


def test_what_cannot_be_edited_is_left_as_it_is_and_the_line_is_said(path):
    path.write_text("tau.cpu = 0.5\n" + path.read_text())
    before = path.read_bytes()
    with pytest.raises(InvalidCard, match=r"write it as: tau = \{ cpu = 0\.75 \}"):
        write_measured(path, "tau", "cpu", 0.75)
    assert path.read_bytes() == before


@pytest.mark.parametrize("tau", [-1.0, float("inf"), float("nan")])
def test_what_is_no_threshold_is_not_written(path, tau):
    before = path.read_bytes()
    with pytest.raises(InvalidCard):
        write_measured(path, "tau", "cpu", tau)
    assert path.read_bytes() == before


def test_what_another_writer_has_begun_is_left_alone(path):
    path.chmod(0o640)
    (path.parent / f".{path.name}.new").mkdir()
    assert write_measured(path, "tau", "cpu", 0.75).tau["cpu"] == 0.75
    assert path.stat().st_mode & 0o777 == 0o640
    names = {file.name for file in path.parent.iterdir() if file.name.startswith(".")}
    assert names == {f".{path.name}.new"}
