"""docs/models.md: its worked example is run."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
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
    (card,) = [block for block in find_blocks("toml") if "our-vlm" in block]
    description = parse_description(card)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        clip = create_clip(description.published.model_cfg)
    torch.save({"epoch": 30, "state_dict": clip.state_dict()}, tmp_path / "epoch_30.pt")
    (tmp_path / "our-vlm.toml").write_text(card)
    monkeypatch.setenv("PROMPTSMOOTH_MODELS", str(tmp_path / "models"))
    monkeypatch.chdir(tmp_path)


def test_worked_example_of_a_card_runs(published):
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


@pytest.mark.long
def test_an_exported_classifier_is_added_and_certified(tmp_path, monkeypatch):
    monkeypatch.setenv("PROMPTSMOOTH_MODELS", str(tmp_path / "models"))
    monkeypatch.chdir(tmp_path)
    (card,) = [block for block in find_blocks("toml") if "my-net" in block]
    Path("my-net.toml").write_text(card)
    (export,) = [block for block in find_blocks("python") if "onnx.export" in block]
    ended = subprocess.run([sys.executable, "-c", export], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    Image.new("RGB", (40, 40), (90, 120, 150)).save("image.png")
    (commands,) = [block for block in find_blocks("sh") if "--card my-net.toml" in block]
    for line in commands.strip().splitlines():
        program, *arguments = shlex.split(line)
        assert program == "promptsmooth"
        shown = CliRunner().invoke(cli, [*arguments, *(["--json"] if "certify" in line else [])])
        assert shown.exit_code == 0, shown.output
    (entry,) = json.loads(shown.stdout)["certificates"]
    assert entry["class_names"] == ["no finding", "opacity"]


def test_every_command_that_is_named_exists():
    named = set(re.findall(r"promptsmooth models ([a-z-]+)", DOCUMENT.read_text()))
    assert {"list", "add", "pull", "check", "remove", "bundle", "measure-eta"} <= named
    for command in named:
        assert CliRunner().invoke(cli, ["models", command, "--help"]).exit_code == 0, command
