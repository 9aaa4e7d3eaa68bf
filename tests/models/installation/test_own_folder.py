"""A model's folder is made whole or not at all, whatever ends the process that makes it."""

import os
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
import tomli_w
from waiting import HANG_S, running, wait_until

from models.installation.folder import ModelTaken, begin_folder, remove_folder
from models.testing import create_linear_model, write_linear_model

REPOSITORY = Path(__file__).parents[3]
ADDING = """
import sys, time
from pathlib import Path
from app.cli.terminal import ending_tidily
from models.installation.folder import begin_folder
with ending_tidily(), begin_folder(Path(sys.argv[1]), "slow") as folder:
    (folder / "weights").write_bytes(b"half")
    print("begun", flush=True)
    time.sleep(6000)
"""


@pytest.fixture
def adding(tmp_path):
    """A process that has begun to add a model and does not end by itself."""
    with ExitStack() as stack:
        command = [sys.executable, "-c", ADDING, str(tmp_path / "models")]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY)
        stack.callback(process.wait)
        stack.callback(process.kill)
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        yield process
        process.stdout.close()


def list_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def add(models: Path, name: str) -> None:
    with begin_folder(models, name) as folder:
        (folder / "weights").write_bytes(b"whole")


def test_what_a_killed_process_left_is_removed_by_the_next_and_the_living_keep_theirs(
    adding, tmp_path
):
    models = tmp_path / "models"
    add(models, "other")
    (begun,) = models.glob(".adding-*")  # the living one's
    assert (begun / "model" / "weights").read_bytes() == b"half"
    adding.kill()
    adding.wait()
    assert begun.is_dir()
    (models / ".adding-plip-4711").mkdir()  # as an earlier release left it
    add(models, "slow")
    assert list_names(models) == ["other", "slow"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_process_that_is_told_to_end_leaves_nothing(adding, tmp_path, number):
    adding.send_signal(number)
    ended = adding.wait(timeout=HANG_S)
    assert ended in (128 + number, -number)  # Python itself ends by SIGINT
    assert list_names(tmp_path / "models") == []


def test_models_add_that_is_told_to_end_leaves_nothing(hf_clip, tmp_path):
    """The command itself, while it converts."""
    published, card = hf_clip.write(tmp_path / "published"), tmp_path / "card.toml"
    card.write_text(tomli_w.dumps(hf_clip.description.model_dump(mode="json", exclude_none=True)))
    models = tmp_path / "models"
    command = [
        sys.executable,
        "-m",
        "app.cli",
        "models",
        "add",
        "small-plip",
        str(published),
    ]
    environment = os.environ | {"PROMPTSMOOTH_MODELS": str(models)}
    with running([*command, "--card", str(card)], env=environment, cwd=REPOSITORY) as run:
        wait_until(lambda: run.poll() is not None or list(models.glob(".adding-*/model")))
        run.terminate()
    assert run.returncode == 128 + signal.SIGTERM
    assert list_names(models) == []


def test_a_folder_is_made_with_the_rights_that_others_have(tmp_path):
    """Workers may run as another user than who adds."""
    (tmp_path / "usual").mkdir()
    add(tmp_path / "models", "one")
    assert (tmp_path / "models" / "one").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_of_two_who_add_the_same_model_one_is_told_that_it_is_taken(tmp_path):
    with pytest.raises(ModelTaken, match="models remove one"), begin_folder(tmp_path, "one"):
        add(tmp_path, "one")
    assert (tmp_path / "one" / "weights").read_bytes() == b"whole"
    assert list_names(tmp_path) == ["one"]


def test_a_link_to_nowhere_takes_the_id_before_anything_is_converted(tmp_path):
    (tmp_path / "one").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ModelTaken, match=r"models remove one first; .* move it away"):
        add(tmp_path, "one")
    assert list_names(tmp_path) == ["one"]


def test_a_model_that_lies_elsewhere_is_removed_with_its_link(tmp_path):
    models, elsewhere = tmp_path / "models", tmp_path / "elsewhere"
    models.mkdir()
    card = write_linear_model(elsewhere, create_linear_model())
    (models / "linear").symlink_to(elsewhere / "linear")
    remove_folder(models, card, models / "linear" / "card.toml")
    assert list_names(models) == []
    assert list_names(elsewhere / "linear") == []
    add(models, "linear")
