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
LEVELS = {0.0: 1, 0.1: 8, 0.25: 16, 0.5: 16, 0.75: 16, 1.0: 16}  # copies of a training image
VOTES, ADAPTATIONS = 64, 50  # copies of an image that is judged, at each sigma
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


def load_bank(
    path: Path, vlm: VLM, folder: Path, *, images: int, shots: int, seed: int
) -> FeatureBank:
    """Returns the bank in `path`, or encodes it: `images` judged, `shots` of a class to learn from.

    The judged images are the set's `test` side, spread evenly over the classes.
    """
    if path.exists():
        return FeatureBank(**torch.load(path, weights_only=True))
    generator = torch.Generator().manual_seed(seed)
    judged = load_image_set(folder, "test", vlm.card.preprocessing)
    learned = load_image_set(folder, "train", vlm.card.preprocessing)
    fewest = int(np.bincount(judged.classes).min())
    each = min(fewest, images // len(judged.class_names))
    places, taught = (
        choose_shots(judged.classes, each, seed),
        choose_shots(learned.classes, shots, seed),
    )
    pixels = torch.from_numpy(judged.pixels[places]).to(torch.int16)
    fields = {
        "name": judged.name,
        "class_names": judged.class_names,
        "template": judged.template,
        "judged": torch.from_numpy(judged.classes[places]),
        "votes": {s: _encode(vlm, pixels, s, VOTES, generator) for s in SIGMAS},
        "adaptations": {s: _encode(vlm, pixels, s, ADAPTATIONS, generator) for s in SIGMAS},
        "learned_from": torch.from_numpy(learned.classes[taught]),
    }
    pixels = torch.from_numpy(learned.pixels[taught]).to(torch.int16)
    fields["training"] = {s: _encode(vlm, pixels, s, n, generator) for s, n in LEVELS.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(fields, path)
    return FeatureBank(**fields)


def _encode(
    vlm: VLM, pixels: Tensor, sigma: float, copies: int, generator: torch.Generator
) -> Tensor:
    """Returns features of noisy copies, float16 (N, copies, D), for pixels, int16 (N, 3, S, S)."""
    features = []
    for image in pixels:
        noise = (255 * sigma * torch.randn(copies, *image.shape, generator=generator)).round()
        features.append(vlm.encode_images(image + noise.to(torch.int16)).half())
    return torch.stack(features)
