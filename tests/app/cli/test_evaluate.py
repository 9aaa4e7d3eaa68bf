"""The command on real images, killed and started again, and what it says to a wrong question."""

import csv
import json
import os
import shutil
import signal
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import torch
from command import PROMPTSMOOTH
from PIL import Image
from safetensors.torch import save_file
from typer.testing import CliRunner
from waiting import HANG_S

from app.cli.__main__ import cli
from models.catalogue import load_catalogue
from models.catalogue.cards import DENOISER_FILE, DenoiserShape, TrainingCost
from models.installation.folder import describe_file, format_model_card
from models.learning.template_prompt import create_template_prompt
from models.loading.loading import load_vlm
from models.prompts.cards import PromptCard
from models.prompts.files import save_prompt
from models.vlm.denoised import Denoiser


def start(*arguments: object, data_dir: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [PROMPTSMOOTH, "evaluate", *map(str, arguments), "--data-dir", str(data_dir)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PROMPTSMOOTH_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )


def run(*arguments: object, data_dir: Path) -> tuple[int, str, str]:
    process = start(*arguments, data_dir=data_dir)
    out, error = process.communicate(timeout=HANG_S)
    return process.returncode, out, error


@pytest.fixture(scope="module")
def template_prompt(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The card of a stored prompt whose vectors are the words of mednist's template."""
    catalogue = load_catalogue()
    card = catalogue.get("bundled-2")
    vlm = load_vlm(card, catalogue.folder("bundled-2"), torch.device("cpu"))
    described = json.loads((data_folder / "mednist" / "card.json").read_text())
    names = tuple(described["classes"].values())
    prompt = create_template_prompt(vlm, described["prompt_template"], names)
    made = PromptCard(
        id="template-words",
        model=card.id,
        weights_sha256=card.weights_sha256,
        method="few-shot",
        class_names=names,
        n_ctx=prompt.n_ctx,
        width=prompt.width,
        suffix=prompt.suffix,
        sha256=prompt.sha256,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    return save_prompt(tmp_path_factory.mktemp("prompts"), made, prompt)


@pytest.fixture
def denoised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A models folder with the bundled model behind denoisers that remove nothing."""
    catalogue, folder = load_catalogue(), tmp_path / "models"
    card = catalogue.get("bundled-2")
    for sigma in ("0.25", "0.5"):
        home = folder / f"bundled-2-denoised-{sigma}"
        shutil.copytree(catalogue.folder("bundled-2"), home)
        shape = DenoiserShape(sigma=float(sigma), width=4, layers=2)
        denoiser = Denoiser(width=4, layers=2)
        torch.nn.init.dirac_(denoiser.filter.weight, groups=3)
        save_file(denoiser.state_dict(), home / DENOISER_FILE)
        changes = {
            "id": home.name,
            "files": (*card.files, describe_file(home / DENOISER_FILE)),
            "denoiser": shape,
            "training_cost": TrainingCost(seconds=30, device="here", threads=1),
        }
        text = format_model_card(card.model_copy(update=changes))
        (home / "card.toml").write_text(text, encoding="utf-8")
    monkeypatch.setenv("PROMPTSMOOTH_MODELS", str(folder))
    return folder


@pytest.mark.long
def test_all_promptings_on_real_images_killed_on_the_way(
    data_folder: Path, template_prompt: Path, denoised: Path, tmp_path: Path
):
    """A few-shot prompt that holds the template's own vectors is judged like the template.

    So is the model behind a denoiser that removes nothing.
    """
    out = tmp_path / "run"
    asked = [
        *("--data", data_folder / "mednist", "--images", 5, "--concurrent", 2, "--n-max", 64),
        *("--prompting", "template", "--prompting", "few-shot", "--prompting", "zero-shot"),
        *("--prompting", "few-shot+zero-shot", "--prompt", template_prompt),
        *("--sigma", "0.25", "--sigma", "0.5", "--out", out, "--baseline", "denoised"),
    ]
    process = start(*asked, data_dir=tmp_path / "data")
    lines = out / "images.jsonl"
    while process.poll() is None and (not lines.exists() or lines.read_bytes().count(b"\n") < 3):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    finished = lines.read_bytes().splitlines(keepends=True)[1:3]
    status, printed, error = run(*asked, data_dir=tmp_path / "data")
    assert status == 0, error
    assert "few-shot+zero-shot" in printed
    assert lines.read_bytes().splitlines(keepends=True)[1:3] == finished, "not certified again"
    results = json.loads((out / "results.json").read_text())
    arms = {(arm["label"], arm["sigma"]): arm for arm in results["arms"]}
    assert len(arms) == 10
    for sigma in ("0.25", "0.5"):
        template, few_shot = arms["template", sigma], arms["few-shot", sigma]
        assert template["at_radius"][0]["accuracy"] == few_shot["at_radius"][0]["accuracy"]
        assert template["clean"] == few_shot["clean"]
        assert template["radii_by_image"] == arms["denoised", sigma]["radii_by_image"]
        assert arms["denoised", sigma]["model"]["id"] == f"bundled-2-denoised-{sigma}"
        assert few_shot["at_radius"][0]["paired"]["p_value"] == 1
        assert arms["zero-shot", sigma]["mean_adaptation_s"] > 0
        assert arms["zero-shot", sigma]["clean"] is None
        others = arms["zero-shot", sigma]["others"]
        assert others["prompts"] == 5
        assert 1 / 4 <= others["commonest"] <= others["largest_commonest"] <= 1
    assert results["question"]["targets"][0]["template"] == "A {} image."
    assert results["cost"]["samples"] == 5 * 2 * (100 + 64 + 64)
    assert [(one["id"], one["seconds"]) for one in results["trained"]] == [
        ("template-words", None),
        ("bundled-2-denoised-0.25", 30),
        ("bundled-2-denoised-0.5", 30),
    ]
    with (out / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["images"] for row in rows} == {"5"}
    assert (out / "plot.svg").read_text().lstrip().startswith("<?xml")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder with nothing but a part for training, and in it the same picture of each class."""
    root = tmp_path / "pictures"
    pixels = np.random.default_rng(5).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for name in ("bone", "air"):
        (root / "train" / name).mkdir(parents=True)
        Image.fromarray(pixels).save(root / "train" / name / "0.png")
    return root


@pytest.mark.long
def test_a_certificate_of_a_run_is_audited_and_reproduced_with_its_stored_prompt(
    pictures: Path, tmp_path: Path
):
    """The two pictures are one and under way together: both name the prompt that is stored."""
    out, data_dir = tmp_path / "run", tmp_path / "data"
    asked = ("--data", pictures, "--split", "train", "--prompting", "zero-shot", "--n-max", 16)
    status, _, error = run(*asked, "--sigma", "0.25", "--out", out, data_dir=data_dir)
    assert status == 0, error
    lines = [json.loads(line) for line in (out / "images.jsonl").read_text().splitlines()[1:]]
    (prompt,) = {line["result"]["certificates"][0]["prompt"]["id"] for line in lines}
    certificate, picture = tmp_path / "certificate.json", pictures / "train" / lines[0]["file"]
    certificate.write_text(json.dumps(lines[0]["result"]))
    audited = CliRunner().invoke(cli, ["audit", str(certificate)])
    assert audited.exit_code == 3, audited.output
    again = [PROMPTSMOOTH, "reproduce", certificate, picture, "--data-dir", tmp_path / "elsewhere"]
    stored = out / "tuned-prompts" / f"{prompt}.toml"
    for named, status in (([], 2), (["--prompt", stored], 0)):
        assert subprocess.run([*again, *named], check=False).returncode == status


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--dataset", "kather"], "There is no dataset 'kather'. Known datasets: covid"),
        (["--dataset", "covid"], "no images in"),
        (["--prompt", "nobody"], "There is no prompt 'nobody'"),
        (["--prompting", "few-shot"], "id or digest of a stored prompt"),
        (["--sigma", "much"], "sigma: expected one or more decimal numbers"),
        (["--radius", "-1"], "a radius is a number from 0 on"),
        (["--template", "no place"], "exactly once"),
        (["--model", "nobody"], "There is no model 'nobody'"),
        (["--baseline", "denoised", "--prompting", "zero-shot"], "ask for that prompting too"),
        (["--baseline", "blurred"], "a baseline is denoised or noise-trained, got blurred"),
        (["--baseline", "denoised"], "benchmarks/accuracy/baselines.py trains a baseline's models"),
    ],
)
def test_what_cannot_be_evaluated_is_a_sentence(
    data_folder, tmp_path, monkeypatch, arguments, sentence
):
    monkeypatch.setenv("PROMPTSMOOTH_DATA_DIR", str(tmp_path / "data"))
    asked = ["evaluate", "--data", str(data_folder / "mednist"), "--out", str(tmp_path / "run")]
    result = CliRunner().invoke(cli, [*asked, *arguments])
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert not (tmp_path / "run").exists()


def test_a_baseline_with_a_server_is_refused_with_what_to_do_instead(tmp_path: Path):
    words = ["--data", str(tmp_path), "--server", "http://127.0.0.1:9", "--baseline", "denoised"]
    done = CliRunner().invoke(cli, ["evaluate", *words, "--data-dir", str(tmp_path)])
    assert done.exit_code == 2
    said = " ".join(done.output.split())
    assert "a service draws other noise for every model" in said
    assert "evaluate the baseline by itself with --model" in said
