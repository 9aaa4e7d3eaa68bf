"""promptsmooth learn: from a folder to two files, or to a sentence and none."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner
from waiting import HANG_S

from app.cli.__main__ import cli
from models.datasets.image_folder import list_images
from models.datasets.training_images import choose_shots
from models.prompts.files import load_prompt

REPOSITORY = Path(__file__).parents[3]
INTERRUPTED = """
import os, signal
from app.cli.__main__ import cli

replace, kept = os.replace, []


def interrupted(source, target):
    kept.append(target)
    if len(kept) == 2:
        signal.raise_signal(signal.SIGINT)
    replace(source, target)


os.replace = interrupted
cli()
"""


@pytest.fixture
def data(tmp_path):
    """Two classes, told apart by their light, four images each."""
    rng = np.random.default_rng(0)
    for name, grey in [("dark_spot", 20), ("bright_spot", 200)]:
        folder = tmp_path / "data" / name
        folder.mkdir(parents=True)
        for number in range(4):
            pixels = rng.integers(grey, grey + 40, size=(64, 64), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")
    return tmp_path / "data"


def list_arguments(data, out, *more: str, shots: int = 3, epochs: int = 3):
    options = ["--data", data, "--out", out, "--id", "spots", "--shots", shots, "--epochs", epochs]
    return ["learn", *map(str, options), *more]


def run(*arguments, **numbers: int):
    return CliRunner().invoke(cli, list_arguments(*arguments, **numbers))


def test_a_folder_becomes_a_prompt_with_all_that_made_it(data, tmp_path):
    shown = run(data, tmp_path / "out", "--noise-level", "0", "--noise-level", "0.2", "--seed", "7")
    assert shown.exit_code == 0, shown.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "spots.safetensors",
        "spots.toml",
    ]
    card, prompt = load_prompt(tmp_path / "out" / "spots.toml")
    assert card.sha256 == prompt.sha256
    assert (card.model, card.method) == ("bundled-2", "few-shot")
    assert card.class_names == ("bright spot", "dark spot")
    assert (card.ctx_init, card.suffix) == (None, " image.")  # of the bundled model's template
    assert card.learning is not None
    made = card.learning
    assert (made.shots, made.epochs, made.seed, made.preset) == (3, 3, 7, "default")
    assert made.noise_levels == (0.0, 0.2)
    assert shown.stderr.count("loss") == 3


def test_what_a_prompt_is_worth_is_told_on_the_images_left_over_with_the_next_command(
    data, tmp_path
):
    """One of four images of each class is left over; told apart by light, both are right."""
    shown = run(data, tmp_path / "out", shots=3, epochs=8)
    assert "held out: right on 2 of 2 images that were left over, without noise" in shown.stdout
    card = tmp_path / "out" / "spots.toml"
    suggested = f"next: promptsmooth evaluate --data OTHER-IMAGES --prompt {card} "
    assert f"{suggested}--prompting template --prompting few-shot\n" in shown.stdout
    whole = run(data, tmp_path / "whole", shots=4)
    assert "no image was left over" in whole.stdout


def test_the_next_command_runs_where_there_is_a_test_part(data, tmp_path, monkeypatch):
    shutil.copytree(data, tmp_path / "split" / "train")
    shutil.copytree(data, tmp_path / "split" / "test")
    shown = run(tmp_path / "split", tmp_path / "out")
    (line,) = (line for line in shown.stdout.splitlines() if line.startswith("next: "))
    program, *arguments = shlex.split(line.removeprefix("next: "))
    assert program == "promptsmooth"
    monkeypatch.setenv("PROMPTSMOOTH_DATA_DIR", str(tmp_path / "data"))
    few = ["--images", "2", "--n-max", "16", "--sigma", "0.1", "--out", str(tmp_path / "run")]
    evaluated = CliRunner().invoke(cli, [*arguments, *few])
    assert evaluated.exit_code == 0, evaluated.stderr


def test_a_file_that_is_no_image_does_not_count_among_those_left_over(data, tmp_path):
    chosen = run(data, tmp_path / "first", shots=3)
    assert chosen.exit_code == 0, chosen.stderr
    for folder in data.iterdir():  # the names sort last, so the choice of shots may change
        (folder / "z.png").write_text("a letter")
    listed = list_images(data, "train")
    places = [at for at, file in enumerate(listed.files) if file.name == "z.png"]
    seed = next(
        seed
        for seed in range(100)
        if not set(places) & set(choose_shots(listed.classes, 3, seed).tolist())
    )
    shown = run(data, tmp_path / "out", "--seed", str(seed), shots=3)
    assert shown.exit_code == 0, shown.stderr
    assert "of 2 images that were left over" in shown.stdout


def test_the_same_command_gives_the_same_digest(data, tmp_path):
    digests = set()
    for name in ("a", "b"):
        assert run(data, tmp_path / name).exit_code == 0
        digests.add(load_prompt(tmp_path / name / "spots.toml")[0].sha256)
    assert len(digests) == 1


@pytest.mark.long
def test_ctrl_c_leaves_a_checkpoint_and_the_same_command_goes_on(data, tmp_path):
    """At the worst moment: as the checkpoint of the second epoch is put in place."""
    assert run(data, tmp_path / "whole").exit_code == 0
    stopped = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, *list_arguments(data, tmp_path / "out")],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )
    assert stopped.returncode == 130, stopped.stderr
    assert "the same command goes on" in stopped.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["spots.checkpoint"]
    other = run(data, tmp_path / "out", "--seed", "9")
    assert other.exit_code == 2
    assert "another learning" in other.stderr
    resumed = run(data, tmp_path / "out")
    assert resumed.exit_code == 0
    assert "epoch 1/3" not in resumed.stderr
    whole, found = (load_prompt(tmp_path / name / "spots.toml")[0] for name in ("whole", "out"))
    assert found.sha256 == whole.sha256
    assert not (tmp_path / "out" / "spots.checkpoint").exists()


def spoil_nothing(data):
    pass


def empty_a_class(data):
    for path in (data / "dark_spot").iterdir():
        path.unlink()


def leave_one_class(data):
    shutil.rmtree(data / "dark_spot")


def put_a_text_among_the_images(data):
    for path in (data / "dark_spot").iterdir():
        path.write_text("no image")


def rename_to_numbers(data):
    (data / "dark_spot").rename(data / "0")
    (data / "bright_spot").rename(data / "1")


def remove_all(data):
    shutil.rmtree(data)


@pytest.mark.parametrize(
    ("spoil", "more", "said"),
    [
        (spoil_nothing, ["--shots", "5"], "needs 5 images"),
        (spoil_nothing, ["--shots", "5"], "the folder 'bright_spot' has 4"),
        (empty_a_class, [], "no images in"),
        (leave_one_class, [], "two class"),
        (put_a_text_among_the_images, [], "of class folder 'dark_spot' cannot be used"),
        (rename_to_numbers, [], "--class-name"),
        (remove_all, [], "there is none"),
        (spoil_nothing, ["--class-name", "one"], "2 class names were expected"),
        (spoil_nothing, ["--template", "{} there"], "has none"),
        (spoil_nothing, ["--noise-level", "-1"], "noise levels"),
        (spoil_nothing, ["--lr", "0"], "learning_rate"),
        (spoil_nothing, ["--ctx-init", "An image", "--n-ctx", "4"], "got both"),
        (spoil_nothing, ["--model", "nothing"], "no model 'nothing'"),
        (spoil_nothing, ["--id", "../up"], "a prompt's id"),
        (spoil_nothing, ["--ctx-init", "word " * 70], "1 to 64 context vectors"),
    ],
)
def test_what_cannot_be_learned_is_one_sentence_and_nothing_is_written(
    data, tmp_path, spoil, more, said
):
    spoil(data)
    shown = run(data, tmp_path / "out", *more)
    assert shown.exit_code == 2
    assert said in shown.stderr.lower().replace("\n", " ")
    assert "epoch" not in shown.stderr
    assert not list((tmp_path / "out").glob("*"))


def test_an_image_that_is_none_is_replaced_and_named_whatever_its_name(data, tmp_path):
    listed = list_images(data, "train")
    lost = listed.files[choose_shots(listed.classes, 2, 7)[0]]
    odd = lost.with_name(os.fsdecode(os.fsencode(lost.stem) + b"\xff.png"))
    lost.rename(odd)
    odd.write_text("no image")
    shown = run(data, tmp_path / "out", "--seed", "7", shots=2)
    assert shown.exit_code == 0, shown.stderr
    (line,) = (line for line in shown.stderr.splitlines() if line.startswith("replaced: "))
    assert f"{lost.stem}\\udcff.png" in line
    assert (tmp_path / "out" / "spots.toml").exists()


def test_an_id_that_is_taken_is_refused_before_anything_is_learned(data, tmp_path):
    assert run(data, tmp_path / "out").exit_code == 0
    before = (tmp_path / "out" / "spots.toml").read_bytes()
    shown = run(data, tmp_path / "out", "--seed", "8")
    assert shown.exit_code == 2
    assert "already" in shown.stderr
    assert "epoch" not in shown.stderr
    assert (tmp_path / "out" / "spots.toml").read_bytes() == before


def test_no_folder_to_write_to_is_a_sentence(data, monkeypatch):
    monkeypatch.delenv("PROMPTSMOOTH_PROMPTS", raising=False)
    shown = CliRunner().invoke(cli, ["learn", "--data", str(data), "--id", "spots"])
    assert shown.exit_code == 2
    assert "--out" in shown.stderr


def test_random_vectors_learn_real_images_from_the_command_line(data_folder, tmp_path):
    """End to end on blood cells: at random the vectors know nothing, afterwards most classes."""
    out = tmp_path / "out"
    options = ["--n-ctx", "4", "--lr", "0.1", "--noise-level", "0"]
    shown = run(data_folder / "bccd_cells", out, *options, shots=8, epochs=8)
    assert shown.exit_code == 0, shown.stderr
    card, _ = load_prompt(out / "spots.toml")
    assert card.class_names == tuple(
        list_images(data_folder / "bccd_cells", "train").card.classes.values()
    )
    assert card.training_data[0].licence == "MIT"
    assert card.learning is not None
    assert card.learning.accuracy > 0.7
