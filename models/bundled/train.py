"""Trains the bundled model, a small CLIP, on three public sets of medical images.

    python -m models.bundled.train --data DIR --seed 1 --out DIR

The image tower never sees noise: PromptSmooth gives a prompt the task of withstanding it. The text
tower's embeddings and transformer stay as they were drawn at random. Trained to give a class the
same features in every sentence, they learn to ignore the words around the class name, and then no
prompt has an effect. Only the last normalisation and projection of the text tower learn.

`--noise` trains a model of another kind, as an upper reference. It adds noise to pixels in [0, 1],
with a strength drawn anew for each image, so that the base classifier itself works under the noise
of a certificate (Cohen et al. 2019, section 3.3).
"""

import argparse
import copy
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from models.bundled.image_sets import ImageSet, load_image_set
from models.catalogue.cards import Preprocessing
from models.catalogue.texts import create_text
from models.vlm._imports import get_open_clip

IMAGE_SETS = ("mednist", "kermany_cxr", "bccd_cells")
PREPROCESSING = Preprocessing(size=64, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
MODEL_CFG: dict[str, Any] = {
    "embed_dim": 128,
    "vision_cfg": {"image_size": 64, "patch_size": 16, "layers": 6, "width": 192},
    "text_cfg": {
        "context_length": 77,
        "vocab_size": 49408,
        "width": 64,
        "heads": 2,
        "layers": 3,
    },
}
# Used beside each set's own template, so that prompts in other words also find the classes.
TEMPLATES = (
    "{}",
    "{}.",
    "A {} image.",
    "An image of {}.",
    "An image of a {}.",
    "A photo of a {}.",
    "A medical image of {}.",
    "A medical image showing {}.",
    "A picture of {}.",
    "This is an image of {}.",
    "An example of {}.",
    "A scan showing {}.",
    "A picture with {} in it.",
    "There is {} here.",
    "The image shows {}.",
    "A clinical image patch of {}.",
    "A photograph taken in a hospital, showing {}.",
    "A slide showing {}.",
)
# The parts of the text tower that keep their random start.
FROZEN = ("token_embedding.", "positional_embedding", "transformer.")
BATCH = 64
CYCLES = (32, 24)  # epochs
_SEED_STEP = 10  # between the seeds of two cycles
LEARNING_RATE = 1e-3
WEIGHT_DECAY = 0.05
WARM_UP = 0.05  # of all steps
CLEAN = 0.2
AVERAGE_OVER = 300  # the shipped weights are a running mean over about this many steps
LABEL_SMOOTHING = 0.1
LARGEST_SCALE = math.log(100.0)


@dataclass(frozen=True, kw_only=True)
class Examples:
    """All training images and, for each class, the texts that describe it."""

    pixels: Tensor  # (N, 3, H, W) uint8
    classes: Tensor  # (N,) over the classes of all sets
    upright: Tensor  # (N,) bool: whether the image has a right way up
    texts: tuple[tuple[str, ...], ...]  # per class; the first is the set's own


def create_examples(image_sets: list[ImageSet]) -> Examples:
    """Combines the images and classes of several sets."""
    texts: list[tuple[str, ...]] = []
    classes, upright = [], []
    for image_set in image_sets:
        classes.append(torch.from_numpy(image_set.classes) + len(texts))
        upright.append(torch.full((len(image_set.classes),), image_set.name != "bccd_cells"))
        for class_name in image_set.class_names:
            templates = (image_set.template, *TEMPLATES)
            texts.append(tuple(create_text(template, class_name) for template in templates))
    return Examples(
        pixels=torch.from_numpy(np.concatenate([image_set.pixels for image_set in image_sets])),
        classes=torch.cat(classes),
        upright=torch.cat(upright),
        texts=tuple(texts),
    )


def augment(pixels: Tensor, upright: Tensor, generator: torch.Generator) -> Tensor:
    """Applies small shifts, rotations, zooms, mirroring and light changes to pixels in [0, 1]."""
    count = len(pixels)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(count, *shape, generator=generator)

    turn = uniform(-0.17, 0.17)
    turn = torch.where(upright, turn, uniform(-math.pi, math.pi))
    zoom = uniform(0.88, 1.1)
    mirror = 1 - 2 * (uniform(0, 1) < 0.5).float()
    cos, sin = zoom * turn.cos(), zoom * turn.sin()
    rows = torch.stack(
        [
            torch.stack([cos * mirror, -sin, uniform(-0.1, 0.1)], dim=1),
            torch.stack([sin * mirror, cos, uniform(-0.1, 0.1)], dim=1),
        ],
        dim=1,
    )  # (B, 2, 3)
    grid = functional.affine_grid(rows, list(pixels.shape), align_corners=False)
    moved = functional.grid_sample(pixels, grid, padding_mode="reflection", align_corners=False)
    contrast, light = uniform(0.8, 1.2, 1, 1, 1), uniform(-0.1, 0.1, 1, 1, 1)
    changed = ((moved - 0.5) * contrast + 0.5 + light).clamp(0, 1)
    untouched = (uniform(0, 1) < 0.2)[:, None, None, None]
    return torch.where(untouched, pixels, changed)


def sample_training_noise(pixels: Tensor, noise: float, generator: torch.Generator) -> Tensor:
    """Adds Gaussian noise whose strength is drawn for each image from U(0, noise).

    A share of `CLEAN` of the images gets no noise. Nothing is clipped.
    """
    strength = noise * torch.rand(len(pixels), 1, 1, 1, generator=generator)
    strength = strength * (torch.rand(strength.shape, generator=generator) >= CLEAN)
    return pixels + strength * torch.randn(pixels.shape, generator=generator)


def contrastive_loss(logits: Tensor, classes: Tensor) -> Tensor:
    """Averages the image-to-text and text-to-image losses; a text's positives are all its images.

    `logits` is (B, C), with one text for each class; `classes` is (B,).
    """
    image_to_text = functional.cross_entropy(logits, classes, label_smoothing=LABEL_SMOOTHING)
    same = functional.one_hot(classes, logits.shape[1]).float()  # (B, C)
    present = same.sum(dim=0) > 0
    share = same[:, present] / same[:, present].sum(dim=0)  # (B, C present), columns sum to 1
    text_to_image = -(share * logits[:, present].log_softmax(dim=0)).sum(dim=0).mean()
    return (image_to_text + 0.5 * text_to_image) / 1.5


def learning_rate_factor(step: int, steps: int) -> float:
    """Rises linearly during warm-up, then falls to zero along half a cosine."""
    warm_up = max(1, int(WARM_UP * steps))
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))


def freeze_text(model: torch.nn.Module) -> None:
    """Excludes the parts of the text tower named in `FROZEN` from learning."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not name.startswith(FROZEN))


def create_optimizer(model: torch.nn.Module) -> torch.optim.Optimizer:
    """Creates AdamW; matrices decay, but embeddings, gains, biases and the scale do not."""
    learning = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    decays = [p for n, p in learning if p.ndim >= 2 and "embedding" not in n]
    others = [p for n, p in learning if p.ndim < 2 or "embedding" in n]
    return torch.optim.AdamW(
        [{"params": decays, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}],
        lr=LEARNING_RATE,
        betas=(0.9, 0.98),
    )


def sample_batches(count: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yields one epoch of images in batches of equal size; an incomplete last batch is left out."""
    order = torch.randperm(count, generator=generator)
    return (order[at : at + BATCH] for at in range(0, count - BATCH + 1, BATCH))


def sample_texts(texts: tuple[tuple[str, ...], ...], generator: torch.Generator) -> list[str]:
    """Draws one text for each class: in half of all draws, the set's own."""
    chosen = []
    for own, *others in texts:
        use_own = torch.rand((), generator=generator) < 0.5
        at = int(torch.randint(len(others), (), generator=generator))
        chosen.append(own if use_own else others[at])
    return chosen


def train(
    examples: Examples,
    *,
    noise: float,
    cycles: Sequence[int],
    seed: int,
    say: Callable[[str], None] = print,
) -> torch.nn.Module:
    """Returns the trained model: the running mean of the last steps' weights, in fp32.

    `cycles` holds the epochs of each cycle. A cycle starts with a warm-up and a new optimiser from
    the weights of the one before, rounded to fp16 as they are stored (warm restarts, Loshchilov and
    Hutter, ICLR 2017).
    """
    torch.manual_seed(seed)
    model: Any = get_open_clip().CLIP(**copy.deepcopy(MODEL_CFG))
    for number, epochs in enumerate(cycles):
        if number:
            model.half().float()
        generator = torch.Generator().manual_seed(seed + _SEED_STEP * number)
        model = _train_cycle(model, examples, noise, epochs, generator, say)
    trained: torch.nn.Module = model.eval()
    return trained


def _train_cycle(
    model: Any,  # open_clip is untyped
    examples: Examples,
    noise: float,
    epochs: int,
    generator: torch.Generator,
    say: Callable[[str], None],
) -> Any:
    open_clip = get_open_clip()
    freeze_text(model)
    tokenizer = open_clip.SimpleTokenizer(context_length=MODEL_CFG["text_cfg"]["context_length"])
    average = torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(1 - 1 / AVERAGE_OVER)
    )
    optimizer = create_optimizer(model)
    steps = epochs * (len(examples.classes) // BATCH)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: learning_rate_factor(step, steps)
    )
    mean = torch.tensor(PREPROCESSING.mean)[:, None, None]
    std = torch.tensor(PREPROCESSING.std)[:, None, None]
    model.train()
    for epoch in range(epochs):
        started, total, right, seen = time.monotonic(), 0.0, 0, 0
        for rows in sample_batches(len(examples.classes), generator):
            pixels = augment(examples.pixels[rows].float() / 255, examples.upright[rows], generator)
            noisy = sample_training_noise(pixels, noise, generator)
            tokens = tokenizer(sample_texts(examples.texts, generator))
            image_features = model.encode_image((noisy - mean) / std, normalize=True)
            text_features = model.encode_text(tokens, normalize=True)
            logits = model.logit_scale.exp() * image_features @ text_features.T  # (B, C)
            classes = examples.classes[rows]
            loss = contrastive_loss(logits, classes)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            with torch.no_grad():
                model.logit_scale.clamp_(0, LARGEST_SCALE)
            average.update_parameters(model)
            total += loss.item() * len(rows)
            right += int((logits.argmax(dim=1) == classes).sum())
            seen += len(rows)
        say(
            f"epoch {epoch + 1}/{epochs}  loss {total / seen:.4f}  right {right / seen:.3f}  "
            f"{time.monotonic() - started:.1f} s",
        )
    return average.module


def save(model: torch.nn.Module, folder: Path) -> None:
    """Writes open_clip's two files, with the tensors in fp16."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "model_cfg": MODEL_CFG,
        "preprocess_cfg": {
            "mean": list(PREPROCESSING.mean),
            "std": list(PREPROCESSING.std),
            "interpolation": PREPROCESSING.interpolation,
            "resize_mode": PREPROCESSING.resize,
        },
    }
    text = json.dumps(config, indent=2) + "\n"
    (folder / "open_clip_config.json").write_text(text, encoding="utf-8")
    tensors = {name: leaf.half().contiguous() for name, leaf in model.state_dict().items()}
    save_file(tensors, folder / "open_clip_model.safetensors")


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m models.bundled.train",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the image sets")
    parser.add_argument("--out", type=Path, required=True, help="folder to write the model into")
    parser.add_argument("--noise", type=float, default=0.0, help="largest noise strength; 0 = none")
    parser.add_argument("--epochs", type=int, nargs="+", default=CYCLES, help="one number a cycle")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    sets = [load_image_set(chosen.data / name, "train", PREPROCESSING) for name in IMAGE_SETS]
    model = train(
        create_examples(sets),
        noise=chosen.noise,
        cycles=chosen.epochs,
        seed=chosen.seed,
    )
    save(model, chosen.out)


if __name__ == "__main__":
    main()
