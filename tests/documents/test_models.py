"""docs/models.md: its worked example is run."""

import re
import shlex
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from app.cli.__main__ import cli
from models.catalogue.cards import parse_description
from models.loading.loading import create_clip

DOCUMENT = Path(__file__).parents[2] / "docs" / "models.md"


def find_blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", DOCUMENT.read_text(), flags=re.DOTALL)


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A checkpoint of the example's architecture, as open_clip's training leaves it."""
    (card,) = find_blocks("toml")
    description = parse_description(card)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        clip = create_clip(description.published.model_cfg)
    torch.save({"epoch": 30, "state_dict": clip.state_dict()}, tmp_path / "checkpoint.pt")
    (tmp_path / "our-vlm.toml").write_text(card)
    monkeypatch.setenv("PROMPTSMOOTH_MODELS", str(tmp_path / "models"))
    monkeypatch.chdir(tmp_path)


def test_worked_example_of_a_card_runs(published):
    (reduce,) = find_blocks("python")
    exec(reduce)
    (commands,) = [block for block in find_blocks("sh") if "--card our-vlm.toml" in block]
    shown = ""
    for line in commands.strip().splitlines():
        program, *arguments = shlex.split(line)
        assert program == "promptsmooth"
        ended = CliRunner().invoke(cli, arguments)
        assert ended.exit_code == 0, ended.output
        shown += ended.stdout
    assert "every SHA-256 is that of the card" in shown
    assert re.search(r"our-vlm .* present", shown)


def test_every_command_that_is_named_exists():
    named = set(re.findall(r"promptsmooth models ([a-z-]+)", DOCUMENT.read_text()))
    assert {"list", "add", "pull", "check", "remove", "bundle", "measure-eta"} <= named
    for command in named:
        assert CliRunner().invoke(cli, ["models", command, "--help"]).exit_code == 0, command
