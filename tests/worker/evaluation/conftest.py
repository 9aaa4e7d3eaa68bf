"""A labelled folder whose every true radius is known, and evaluations of it."""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from models.catalogue import load_catalogue
from models.datasets.card import describe_folder
from models.datasets.files import list_dataset
from models.datasets.subset import choose_subset
from models.loading.loading import load_vlm
from models.testing import LinearModel, create_linear_model, write_linear_model
from models.vlm.vlm import VLM
from worker.contract import CohenParameters, TemplateTarget
from worker.evaluation.evaluate import Evaluation
from worker.evaluation.run_file import RUN_FILE
from worker.evaluation.run_secret import OLD_FILE

SECRET = b"e" * 32
# At 0.001 a certificate in a thousand is false by chance, and a law about all of them would hold or
# not by the secret. At this alpha the laws fail by chance once in millions of secrets.
ALPHA = Decimal("1e-9")
DISTANCES = (0.004, 0.05, 0.12, 0.2, 0.3, 0.42)


@dataclass(frozen=True, kw_only=True)
class LabelledFolder:
    """The folder, and of each image the distance to the plane; negative where its label is wrong.

    Keys are as a run names files: `<class folder>/<file>`.
    """

    root: Path
    distances: dict[str, float]


@pytest.fixture(scope="session")
def labelled(linear: LinearModel, tmp_path_factory: pytest.TempPathFactory) -> LabelledFolder:
    """On each side of the plane an image at about each distance, and one with the other's label."""
    root, distances = tmp_path_factory.mktemp("labelled"), {}
    for side, class_name in enumerate(linear.class_names):
        other = linear.class_names[1 - side]
        for number, wanted in enumerate(DISTANCES):
            image = create_image_at(linear, wanted if side else -wanted)
            wrong = number == 3
            name = f"{other if wrong else class_name}/{side}{number}.png"
            (root / name).parent.mkdir(exist_ok=True)
            Image.fromarray(image.transpose(1, 2, 0)).save(root / name)
            assert linear.class_index(image) == side
            distances[name] = -linear.distance(image) if wrong else linear.distance(image)
    return LabelledFolder(root=root, distances=distances)


def create_image_at(linear: LinearModel, distance: float) -> np.ndarray:
    """The 8-bit image that is about so far from the plane, on the side of its sign."""
    weight = linear.weight.astype(float)
    unit = weight / np.sqrt((weight**2).sum())
    image = np.full(linear.weight.shape, 127.0) + 255 * distance * unit
    image = np.clip(np.rint(image), 0, 255).astype(np.uint8)
    flat, order = image.reshape(-1), np.flatnonzero(weight.reshape(-1))
    for place in order:  # one level at a time, where rounding left it on the wrong side
        if (linear.margin(image) > 0) == (distance > 0):
            break
        step = np.sign(weight.reshape(-1)[place]) * np.sign(distance)
        flat[place] = np.uint8(int(flat[place]) + int(step))
    return image


@pytest.fixture(scope="session")
def linear_vlm(models_folder: Path) -> VLM:
    catalogue = load_catalogue(models_folder)
    return load_vlm(catalogue.get("linear"), catalogue.folder("linear"), torch.device("cpu"))


@pytest.fixture
def create_evaluation(
    labelled: LabelledFolder, linear_vlm: VLM, tmp_path: Path
) -> Callable[..., Evaluation]:
    """An evaluation of the labelled folder into a folder of its own, under one known secret."""

    def create(folder: str = "run", *, images: int = 100, **changes: object) -> Evaluation:
        card = describe_folder(labelled.root, "test")
        fields = {
            "dataset": "labelled",
            "split": "test",
            "seed": 3,
            "files": choose_subset(list_dataset(labelled.root, card, "test"), images),
            "vlm": linear_vlm,
            "targets": (
                TemplateTarget(template=linear_vlm.card.template, class_names=card.class_names),
            ),
            "sigmas": (Decimal("0.1"), Decimal("0.25")),
            "procedure": CohenParameters(n0=50, n=800),
            "alpha": ALPHA,
            "prompts": {},
            "folder": tmp_path / folder,
            "secrets": tmp_path / "secrets",
            "ledger": tmp_path / "attempts",
            "concurrent": 3,
        }
        (tmp_path / folder).mkdir(exist_ok=True)
        if not (tmp_path / folder / RUN_FILE).exists():
            (tmp_path / folder / OLD_FILE).write_bytes(SECRET)
        return Evaluation(**(fields | changes))

    return create


@pytest.fixture(scope="session")
def tilted_vlm(tmp_path_factory: pytest.TempPathFactory) -> VLM:
    """Another linear model: a baseline whose certificates are not those of the first."""
    folder = tmp_path_factory.mktemp("tilted")
    model = create_linear_model(size=16, seed=7)
    card = write_linear_model(folder, model, model_id="tilted")
    return load_vlm(card, folder / "tilted", torch.device("cpu"))
