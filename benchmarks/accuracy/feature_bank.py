"""Image features of noisy copies, kept on disk: they do not depend on the prompt.

So prompts can be learned and compared without another pass of the image tower. `split_train`
divides the train folder of a set, so that no test image takes part.
"""

import csv
import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.bundled.image_sets import load_image_set
from models.datasets.training_images import choose_shots
from models.vlm.vlm import VLM

SIGMAS = (0.25, 0.5, 1.0)
LEVELS = {0.0: 1, 0.1: 6, 0.25: 14, 0.5: 14, 1.0: 14}  # copies of a training image
VOTES, ADAPTATIONS = 48, 40  # copies of an image that is judged, at each sigma
IMAGES, SHOTS = 60, 24  # images judged, and images of a class to learn from
_SEED = 11
_ASIDE = 4  # one group in four is set aside


def split_train(data: Path, name: str, to: Path) -> None:
    """Copies a set's train folder as `to/NAME/train` and `to/NAME/test`, whole groups together.

    A group is a patient or a source image, so no two images of one are on different sides.
    """
    folder = to / name
    if (folder / "card.json").exists():
        return
    with (data / name / "index.csv").open(encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["split"] == "train"]
    for row in rows:
        rank = int(hashlib.sha256(f"{name} {row['group']}".encode()).hexdigest(), 16)
        side = "train" if rank % _ASIDE else "test"
        target = folder / side / Path(row["file"]).relative_to("train")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(data / name / row["file"], target)
    shutil.copy(data / name / "card.json", folder)


@dataclass(frozen=True, kw_only=True)
class FeatureBank:
    """One set under one model.

    `votes` and `adaptations` hold features of the judged images, (N, copies, D) for each sigma;
    `training` those of images to learn from, for each noise level. `judged` and `learned_from` are
    their classes, (N,).
    """

    name: str
    class_names: tuple[str, ...]
    template: str
    judged: Tensor
    votes: dict[float, Tensor]
    adaptations: dict[float, Tensor]
    learned_from: Tensor
    training: dict[float, Tensor]

    def sample(self, rows: Tensor, levels: Tensor, generator: torch.Generator) -> Tensor:
        """Draws one copy of each training image in `rows` at its noise level: (B, D)."""
        drawn = []
        for row, level in zip(rows.tolist(), levels.tolist(), strict=True):
            copies = self.training[level][row]  # (copies, D)
            drawn.append(copies[torch.randint(len(copies), (), generator=generator)])
        return torch.stack(drawn).float()


def load_bank(path: Path, vlm: VLM, folder: Path) -> FeatureBank:
    """Returns the bank in the file `path`; encodes it first if it is not there.

    The judged images are of the set's `test` side, as many of each class.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(_create_fields(vlm, folder), path)
    return FeatureBank(**torch.load(path, weights_only=True))


def _create_fields(vlm: VLM, folder: Path) -> dict[str, object]:
    generator = torch.Generator().manual_seed(_SEED)
    test = load_image_set(folder, "test", vlm.card.preprocessing)
    each = min(int(np.bincount(test.classes).min()), IMAGES // len(test.class_names))
    judged = choose_shots(test.classes, each, seed=5)
    votes, adaptations = {}, {}
    for sigma in SIGMAS:
        votes[sigma] = _encode(vlm, test.pixels[judged], sigma, VOTES, generator)
        adaptations[sigma] = _encode(vlm, test.pixels[judged], sigma, ADAPTATIONS, generator)
    train = load_image_set(folder, "train", vlm.card.preprocessing)
    taught = choose_shots(train.classes, SHOTS, seed=1)
    levels = LEVELS.items()
    return {
        "name": test.name,
        "class_names": test.class_names,
        "template": test.template,
        "judged": torch.from_numpy(test.classes[judged]),
        "votes": votes,
        "adaptations": adaptations,
        "learned_from": torch.from_numpy(train.classes[taught]),
        "training": {s: _encode(vlm, train.pixels[taught], s, n, generator) for s, n in levels},
    }


def _encode(
    vlm: VLM, pixels: np.ndarray, sigma: float, copies: int, generator: torch.Generator
) -> Tensor:
    """Returns features of noisy copies, float16 (N, copies, D), for pixels, uint8 (N, 3, S, S)."""
    features = []
    for image in torch.from_numpy(pixels).to(torch.int16):
        noise = (255 * sigma * torch.randn(copies, *image.shape, generator=generator)).round()
        features.append(vlm.encode_images(image + noise.to(torch.int16)).half())
    return torch.stack(features)
