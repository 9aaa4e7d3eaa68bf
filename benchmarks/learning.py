"""Few-shot settings compared on the train folders alone: how the preset `default` was chosen.

    python benchmarks/learning.py --data ../shared/data --work DIR

One group in four of each train folder is set aside and judged. A model of each seed is trained on
the rest (`models.bundled.train`), prompts are learned on the rest, and no test image takes part.
Each row changes the preset in one or two settings. Prompts are learned by the steps of the service
from features that were encoded once; only the noisy copies differ, which are drawn from a fixed
number for each image. Models, features and rows stay in the work folder, so an interrupted
benchmark continues from them.
"""

import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import typer
from feature_bank import SIGMAS, FeatureBank
from torch import Tensor
from torch.nn.functional import one_hot
from vlm_folder import load_trained_vlm

from models.learning.state import create_state
from models.learning.step import create_objective
from models.learning.template_prompt import create_template_prompt
from models.learning.zero_shot import tune_prompt
from models.prompts.learning_settings import LearningSettings, create_learning_settings
from models.prompts.prompt import Prompt
from models.vlm.base_classifier import BaseClassifier, create_base_classifier
from models.vlm.vlm import VLM

RESULTS = Path(__file__).with_name("results")
RADII = (0.0, 0.5, 1.0)  # in units of sigma
MOST_SHOTS = 32
RANDOM = {"ctx_init": None, "n_random": 0, "anchor_weight": 0.0}
CHANGES: Mapping[str, Mapping[str, object]] = {
    "the preset": {},
}
_NEAR_ZERO = 0.05  # a radius below this share of sigma would be an abstention at n = 2,000

_TITLE = """\
# Learning a prompt: settings compared on the train folders
"""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One prompt on one set: the share of judged images that are right with a radius.

    `few_shot` and `tuned` hold a list for each sigma, with a share for each of `RADII`; `tuned` is
    after a zero-shot step on each image.
    """

    model_seed: int
    set_name: str
    label: str
    seed: int
    few_shot: list[list[float]]
    tuned: list[list[float]]


def learn(vlm: VLM, bank: FeatureBank, settings: LearningSettings) -> Prompt:
    """Learns a prompt from the bank by the steps of `models.learning`."""
    state = create_state(vlm, settings)
    objective = create_objective(vlm, bank.class_names, settings)
    rows = _choose(bank, settings)
    levels = torch.tensor(settings.noise_levels, dtype=torch.float64)
    for epoch in range(settings.epochs):
        for group in state.optimizer.param_groups:
            group["lr"] = settings.get_learning_rate(epoch)
        order = torch.randperm(len(rows), generator=state.generator)
        for part in order.split(settings.batch_size):
            drawn = levels[torch.randint(len(levels), (len(part),), generator=state.generator)]
            features = bank.sample(rows[part], drawn, state.generator)
            objective.take_step(state, features, bank.learned_from[rows[part]])
    return state.create_prompt(settings.suffix)


def _choose(bank: FeatureBank, settings: LearningSettings) -> Tensor:
    """Returns the rows of `shots` training images of each class, chosen by the seed."""
    generator = torch.Generator().manual_seed(settings.seed)
    chosen = []
    for index in range(len(bank.class_names)):
        there = (bank.learned_from == index).nonzero().flatten()
        chosen.append(there[torch.randperm(len(there), generator=generator)[: settings.shots]])
    return torch.cat(chosen)


def judge(bank: FeatureBank, logits: Tensor) -> list[float]:
    """Returns the share of images that are right with a radius of 0, sigma / 2 and sigma.

    The radius is that of the shares of votes, sigma / 2 (inverse(p_A) - inverse(p_B)), without a
    bound on the sampling error; `logits` is (N, copies, C).
    """
    counts = one_hot(logits.argmax(dim=2), logits.shape[2]).sum(dim=1).double()  # (N, C)
    shares = (counts + 0.5) / (counts.sum(dim=1, keepdim=True) + 0.5 * counts.shape[1])
    top = shares.topk(2, dim=1)
    quantiles = torch.special.ndtri(top.values)  # (N, 2)
    radii = 0.5 * (quantiles[:, 0] - quantiles[:, 1])  # in units of sigma
    right = top.indices[:, 0] == bank.judged
    return [float((right & (radii >= max(r, _NEAR_ZERO))).double().mean()) for r in RADII]


def judge_prompt(vlm: VLM, bank: FeatureBank, text_features: Tensor) -> list[list[float]]:
    """Judges one prompt for all images, for each sigma."""
    classifier = BaseClassifier(vlm=vlm, text_features=text_features)
    return [judge(bank, bank.votes[s].float() @ classifier.text_features.T) for s in SIGMAS]


def judge_tuned(vlm: VLM, bank: FeatureBank, start: Prompt) -> list[list[float]]:
    """Judges a prompt after a zero-shot step on each image's own copies, for each sigma."""
    return [judge(bank, torch.stack(list(_tune(vlm, bank, start, s)))) for s in SIGMAS]


def _tune(vlm: VLM, bank: FeatureBank, start: Prompt, sigma: float) -> Iterator[Tensor]:
    for copies, votes in zip(bank.adaptations[sigma], bank.votes[sigma], strict=True):
        tuned = tune_prompt(vlm, copies.float(), start, bank.class_names).prompt
        yield votes.float() @ _encode(vlm, bank, tuned).T


@torch.no_grad()
def _encode(vlm: VLM, bank: FeatureBank, prompt: Prompt) -> Tensor:
    texts = [prompt.create_text(name) for name in bank.class_names]
    return vlm.encode_prompts(torch.tensor(prompt.ctx, device=vlm.device), texts)


def train_model(work: Path, seed: int, threads: int) -> VLM:
    """Trains a model on the divided train folders, unless the work folder has it."""
    folder = work / "models" / str(seed)
    if not (folder / "open_clip_model.safetensors").is_file():
        command = [sys.executable, "-m", "models.bundled.train", "--data", str(work / "data")]
        command += ["--out", str(folder), "--seed", str(seed), "--threads", str(threads)]
        typer.echo(shlex.join(command), err=True)
        subprocess.run(command, check=True)  # noqa: S603  our own arguments
    return load_trained_vlm(folder)


def compare(
    vlm: VLM, bank: FeatureBank, model_seed: int, seeds: int, done: Callable[[str], Row | None]
) -> Iterator[Row]:
    """Yields the rows of one set under one model, those of an earlier run first."""
    template = create_base_classifier(vlm, bank.template, bank.class_names)
    start = create_template_prompt(vlm, bank.template, bank.class_names)
    few_shot = judge_prompt(vlm, bank, template.text_features)
    yield Row(
        model_seed=model_seed,
        set_name=bank.name,
        label="the template",
        seed=0,
        few_shot=few_shot,
        tuned=judge_tuned(vlm, bank, start),
    )
    preset = create_learning_settings("default", bank.template)
    for label, changes in CHANGES.items():
        for seed in range(1, seeds + 1):
            prompt = learn(vlm, bank, replace(preset, seed=seed, **changes))
            yield Row(
                model_seed=model_seed,
                set_name=bank.name,
                label=label,
                seed=seed,
                few_shot=judge_prompt(vlm, bank, _encode(vlm, bank, prompt)),
                tuned=judge_tuned(vlm, bank, prompt),
            )
