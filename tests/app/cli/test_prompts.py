"""promptsmooth prompts: what is imported is shown, exported and removed; errors are sentences."""

import json

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from app.cli.__main__ import cli
from models.prompts.cards import parse_prompt_card
from models.prompts.catalogue import SHIPPED
from models.prompts.ctx_file import write_ctx
from models.prompts.files import load_prompt


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("PROMPTSMOOTH_PROMPTS", str(tmp_path / "prompts"))
    return tmp_path / "prompts"


def run(*arguments: object):
    return CliRunner().invoke(cli, ["prompts", *map(str, arguments)])


def run_import(file, *more: object, prompt_id: str = "lungs", model: str = "bundled-2"):
    names = ["--class-name", "normal lungs", "--class-name", "pneumonia"]
    return run("import", file, "--model", model, "--id", prompt_id, *names, *more)


def write(path, *, width: int = 64, seed: int = 0):
    ctx = np.random.default_rng(seed).normal(size=(4, width)).astype(np.float32)
    torch.save({"state_dict": {"ctx": torch.tensor(ctx).half()}}, path)
    return ctx.astype(np.float16).astype(np.float32)


def require_sentence(shown, *said: str) -> None:
    assert shown.exit_code == 2
    assert shown.stderr.startswith("promptsmooth: ")
    assert shown.stderr.count("\n") == 1
    for text in said:
        assert text in shown.stderr


def test_an_import_is_listed_shown_exported_and_removed(folder, tmp_path):
    ctx = write(tmp_path / "model.pth.tar-50")
    shown = run_import(tmp_path / "model.pth.tar-50", "--licence", "MIT")
    assert (shown.exit_code, shown.stderr.count("POST /prompts")) == (0, 1)
    card, prompt = load_prompt(folder / "lungs.toml")
    np.testing.assert_array_equal(prompt.ctx, ctx)
    assert card.sha256 in shown.stdout
    assert parse_prompt_card(run("show", "lungs").stdout) == card
    assert parse_prompt_card(run("show", card.sha256).stdout) == card
    listed = run("list", "--model", "bundled-2").stdout
    assert all(word in listed for word in ("lungs", "bundled-2-mednist", card.sha256[:16]))
    assert "lungs" not in run("list", "--model", "other").stdout
    assert run("export", "lungs", tmp_path / "out").exit_code == 0
    assert load_prompt(tmp_path / "out" / "lungs.toml")[1].sha256 == prompt.sha256
    assert run("remove", "lungs").exit_code == 0
    assert list(folder.iterdir()) == []


def test_a_list_is_whole_at_eighty_columns_and_for_programs(folder, tmp_path):
    """Rows that a terminal would break hide an id or a digest."""
    write(tmp_path / "file")
    long_id = "a-prompt-with-a-name-that-takes-all-of-the-letters-that-it-may-x"
    assert run_import(tmp_path / "file", prompt_id=long_id).exit_code == 0
    lines = run("list").stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert long_id in lines
    assert "  bundled-2, few-shot, 8 x 64, 3d39dedb569de2a7" in lines
    assert "  normal lungs, pneumonia" in lines
    cards = {card["id"]: card for card in json.loads(run("list", "--json").stdout)}
    assert cards[long_id]["class_names"] == ["normal lungs", "pneumonia"]
    assert cards[long_id]["sha256"] == load_prompt(folder / f"{long_id}.toml")[0].sha256
    assert json.loads(run("list", "--json", "--model", "other").stdout) == []


def test_what_cannot_be_imported_is_one_sentence_and_nothing_is_written(folder, tmp_path):
    file = tmp_path / "file"
    write(file, width=512)
    require_sentence(run_import(file), "width 64", "width 512")
    write(file)
    require_sentence(run_import(file, model="none"), "no model 'none'")
    require_sentence(run_import(file, prompt_id="A b"), "id: ")
    require_sentence(run_import(file, "--class-name", "pneumonia"), "occurs more than once")
    file.write_bytes(file.read_bytes()[:200])
    require_sentence(run_import(file), "damaged or truncated")
    assert not folder.exists()


def test_an_id_is_not_taken_by_another_prompt(folder, tmp_path):
    for seed in (0, 1):
        (tmp_path / str(seed)).write_bytes(write_ctx(np.full((2, 64), seed, dtype=np.float32)))
    assert run_import(tmp_path / "0").exit_code == 0
    assert run_import(tmp_path / "0").exit_code == 0
    require_sentence(run_import(tmp_path / "1"), "'lungs' belongs to another prompt")


def test_prompts_that_ship_stay_and_their_ids_are_taken(folder, tmp_path):
    write(tmp_path / "file")
    folder.mkdir()
    before = {path: path.read_bytes() for path in SHIPPED.iterdir()}
    shipped = next(SHIPPED.glob("*.toml")).stem
    assert shipped in run("list").stdout
    require_sentence(run("remove", shipped), "ships with the service")
    require_sentence(run_import(tmp_path / "file", prompt_id=shipped), "ships with the service")
    assert {path: path.read_bytes() for path in SHIPPED.iterdir()} == before
    assert list(folder.iterdir()) == []


def test_what_is_not_there_is_one_sentence(folder, tmp_path, monkeypatch):
    require_sentence(run("list"), "prompts folder")
    folder.mkdir()
    for command in (("show", "x"), ("remove", "x"), ("export", "x", tmp_path)):
        require_sentence(run(*command), "no prompt 'x'")
    monkeypatch.delenv("PROMPTSMOOTH_PROMPTS")
    write(tmp_path / "file")
    require_sentence(run_import(tmp_path / "file"), "PROMPTSMOOTH_PROMPTS")


@pytest.mark.parametrize("command", ["list", "show", "import", "export", "remove"])
def test_every_command_explains_itself(command):
    shown = run(command, "--help")
    assert shown.exit_code == 0
    assert "prompt" in shown.stdout
