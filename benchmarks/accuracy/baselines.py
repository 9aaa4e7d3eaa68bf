"""Trains the models that prompts are compared with, and the bundled model from other seeds.

    cd benchmarks/accuracy
    python baselines.py denoised --data DATA --models DIR --model bundled-2
    python baselines.py noise-trained --data DATA --models DIR
    python baselines.py seeds --data DATA --models DIR --seed 2

`denoised` trains a small denoiser in front of the frozen model (denoised smoothing, Salman et al.
2020). `noise-trained` trains the bundled architecture from scratch under noise, as an upper
reference that gives up the frozen model. Each model becomes a folder `MODEL-BASELINE-SIGMA` of DIR,
whose card records the seconds that training took. Models that are there already are left as they
are. With PROMPTSMOOTH_MODELS=DIR, `promptsmooth evaluate --baseline` judges them beside prompts.
"""

import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Annotated

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch
import typer
from safetensors.torch import save
from torch import Tensor

from models.bundled.image_sets import ImageSet, load_image_set
from models.bundled.train import IMAGE_SETS
from models.catalogue import load_catalogue
from models.catalogue.cards import (
    DENOISER_FILE,
    DenoiserShape,
    ModelCard,
    TrainingCost,
    WeightFile,
)
from models.installation.folder import CARD, begin_folder, describe_file, format_model_card
from models.learning.denoising import (
    DenoisingImages,
    DenoisingSettings,
    DenoisingStep,
    EncodeImages,
    train_denoiser,
)
from models.loading.loading import CONFIG, create_clip, load_vlm
from models.loading.tensor_file import load_into
from models.vlm.base_classifier import create_base_classifier
from models.vlm.provenance import get_device_name
from models.vlm.vlm import VLM

SIGMAS = ["0.25", "0.5", "1"]
WIDTH, LAYERS = 32, 5
STRONGEST = 1.5  # noise is drawn up to so many sigma, so that sigma itself is common
CPU = torch.device("cpu")

cli = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)

DataOption = Annotated[Path, typer.Option(exists=True, file_okay=False, help="Folder of the sets.")]
ModelsOption = Annotated[Path, typer.Option(help="Folder to put the models into; may have MODEL.")]
ModelOption = Annotated[str, typer.Option(help="Id of the model to compare with.")]
SigmaOption = Annotated[list[str] | None, typer.Option(help="Repeatable.  (default: .25, .5, 1)")]
ThreadsOption = Annotated[int, typer.Option(min=1, help="torch's threads.")]


@cli.command()
def denoised(
    data: DataOption,
    models: ModelsOption,
    model: ModelOption = "bundled-2",
    sigma: SigmaOption = None,
    image_set: Annotated[list[str] | None, typer.Option(help="Repeatable.  (default: all)")] = None,
    steps: Annotated[int, typer.Option(min=1, help="Steps of training.")] = 500,
    threads: ThreadsOption = 2,
) -> None:
    """Trains a denoiser in front of a frozen open_clip model, on the train folders."""
    torch.set_num_threads(threads)
    card, folder = _find_model(models, model)
    for model_id, level in _list_missing(models, f"{model}-denoised", sigma):
        vlm, encode = load_vlm(card, folder, CPU), create_encoder(card, folder)
        sets = [
            load_image_set(data / name, "train", card.preprocessing)
            for name in image_set or IMAGE_SETS
        ]
        shape = DenoiserShape(sigma=float(level), width=WIDTH, layers=LAYERS)
        trained = train_denoiser(
            encode,
            [create_images(vlm, one) for one in sets],
            DenoisingSettings(shape=shape, steps=steps),
            on_step=_say,
        )
        with begin_folder(models, model_id) as home:
            for file in card.files:
                shutil.copyfile(folder / file.name, home / file.name)
            tensors = {
                name: leaf.contiguous() for name, leaf in trained.denoiser.state_dict().items()
            }
            (home / DENOISER_FILE).write_bytes(save(tensors))
            name = f"{card.name}, denoised for noise of strength {level}"
            new = _describe(card, model_id, name, trained.seconds) | {"denoiser": shape}
            new["files"] = (*card.files, describe_file(home / DENOISER_FILE))
            _write_card(card, new, home)


@cli.command()
def noise_trained(
    data: DataOption,
    models: ModelsOption,
    model: ModelOption = "bundled-2",
    sigma: SigmaOption = None,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of training.")] = 32,
    threads: ThreadsOption = 2,
) -> None:
    """Trains the bundled architecture from scratch under noise, by models.bundled.train."""
    card, _ = _find_model(models, model)
    for model_id, level in _list_missing(models, f"{model}-noise-trained", sigma):
        arguments = {
            "--data": data,
            "--noise": STRONGEST * float(level),
            "--epochs": epochs,
            "--threads": threads,
        }
        name = f"{card.name}, trained under noise of strength {level}"
        _train(card, models / model_id, name, arguments)


@cli.command()
def seeds(
    data: DataOption,
    models: ModelsOption,
    seed: Annotated[list[int], typer.Option(min=2, help="Repeatable.")],
    model: ModelOption = "bundled-2",
    threads: ThreadsOption = 2,
) -> None:
    """Trains the bundled model again from other seeds, by models.bundled.train as it is."""
    card, _ = _find_model(models, model)
    for one in seed:
        home = models / f"{model}-seed-{one}"
        if home.exists():
            typer.echo(f"{home.name} is there already")
            continue
        typer.echo(f"training {home.name}")
        arguments = {"--data": data, "--seed": one, "--threads": threads}
        _train(card, home, f"{card.name}, trained from seed {one}", arguments)


def _train(card: ModelCard, home: Path, name: str, arguments: dict[str, object]) -> None:
    """Writes a model of the bundled architecture, which models.bundled.train makes."""
    with tempfile.TemporaryDirectory() as out:
        words = [str(word) for pair in arguments.items() for word in pair]
        command = [sys.executable, "-m", "models.bundled.train", *words, "--out", out]
        began = time.monotonic()
        subprocess.run(command, check=True)  # noqa: S603
        seconds = time.monotonic() - began
        with begin_folder(home.parent, home.name) as folder:
            threads = int(str(arguments["--threads"]))
            new = _describe(card, home.name, name, seconds, threads=threads)
            new["files"] = tuple(_copy(path, folder) for path in sorted(Path(out).iterdir()))
            _write_card(card, new, folder)


def create_encoder(card: ModelCard, folder: Path) -> EncodeImages:
    """The frozen image tower of an open_clip model, with a gradient to its pixels."""
    clip = create_clip(json.loads((folder / CONFIG).read_bytes())["model_cfg"])
    (tensors,) = (file for file in card.files if file.holds_tensors)
    load_into(clip.state_dict(), tensors, folder)
    clip.eval().requires_grad_(False)
    mean = torch.tensor(card.preprocessing.mean)[:, None, None]  # (3, 1, 1)
    std = torch.tensor(card.preprocessing.std)[:, None, None]  # (3, 1, 1)
    scale = math.exp(clip.logit_scale.item())

    def encode(pixels: Tensor) -> Tensor:
        features: Tensor = clip.encode_image((pixels - mean) / std, normalize=True)
        return scale * features  # (B, D)

    return encode


def create_images(vlm: VLM, image_set: ImageSet) -> DenoisingImages:
    """A set's training images, with the texts of its own classes in its own template."""
    classifier = create_base_classifier(vlm, image_set.template, image_set.class_names)
    return DenoisingImages(pixels=image_set.pixels, text_features=classifier.text_features)


def _find_model(models: Path, model: str) -> tuple[ModelCard, Path]:
    models.mkdir(parents=True, exist_ok=True)
    catalogue = load_catalogue(models)
    return catalogue.get(model), catalogue.folder(model)


def _list_missing(models: Path, prefix: str, sigma: list[str] | None) -> Iterator[tuple[str, str]]:
    for text in sigma or SIGMAS:
        level = f"{Decimal(text).normalize():f}"
        model_id = f"{prefix}-{level}"
        if (models / model_id).exists():
            typer.echo(f"{model_id} is there already")
            continue
        typer.echo(f"training {model_id}")
        yield model_id, level


def _say(step: DenoisingStep) -> None:
    if step.number % 50 == 0:
        second = "" if step.cross_entropy is None else f"  cross-entropy {step.cross_entropy:.3f}"
        typer.echo(
            f"step {step.number}  error {step.squared_error:.4f} of the noise's variance{second}"
        )


def _describe(
    card: ModelCard, model_id: str, name: str, seconds: float, *, threads: int | None = None
) -> dict[str, object]:
    """What a baseline's card says otherwise than the model's."""
    threads = threads or torch.get_num_threads()
    return {
        "id": model_id,
        "name": name,
        "description": f"Made to compare prompts of {card.id} with.",
        "source": "benchmarks/accuracy/baselines.py",
        "evaluation": (),
        "published": None,
        "origin": None,
        "training_cost": TrainingCost(
            seconds=round(seconds, 1), device=get_device_name(CPU), threads=threads
        ),
    }


def _copy(path: Path, home: Path) -> WeightFile:
    shutil.copyfile(path, home / path.name)
    return describe_file(home / path.name)


def _write_card(card: ModelCard, changes: dict[str, object], home: Path) -> None:
    described = ModelCard.model_validate(card.model_copy(update=changes).model_dump())
    (home / CARD).write_text(format_model_card(described), encoding="utf-8")


if __name__ == "__main__":
    cli()
