"""Finds the models of baselines, and what it cost to train them and the prompts beside them."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import torch

from app.local.engine import find_model
from models.catalogue import UnknownModel
from models.catalogue.cards import DENOISER_FILE, ModelCard
from worker.engine.shelf.runtime import CpuRuntime, load_served
from worker.evaluation.loaded.baselines import Baseline, check_comparable
from worker.evaluation.question import BaselineName
from worker.evaluation.trained import Trained


@dataclass(frozen=True, kw_only=True)
class FoundBaseline:
    """The model of a baseline for one noise level, not yet loaded."""

    name: BaselineName
    sigma: Decimal
    card: ModelCard
    weights: Path

    def load(self, device: torch.device, runtime: CpuRuntime) -> Baseline:
        """The model on its device. Raises the errors of `load_served`."""
        vlm = load_served(self.card, self.weights, device, runtime)
        return Baseline(name=self.name, sigma=self.sigma, vlm=vlm)

    def describe(self) -> Trained:
        """What its card says of its training."""
        cost = self.card.training_cost
        return Trained(
            kind=self.name,
            id=self.card.id,
            sigma=self.sigma,
            seconds=None if cost is None else cost.seconds,
            size_bytes=self._count_bytes(),
            device="" if cost is None else f"{cost.device}, {cost.threads} threads",
        )

    def _count_bytes(self) -> int:
        """The bytes that this noise level alone needs: those of the denoiser, if there is one."""
        tensors = [file for file in self.card.files if file.holds_tensors]
        own = [file for file in tensors if file.name == DENOISER_FILE] or tensors
        return sum(file.size_bytes for file in own)


def find_baselines(
    names: Sequence[BaselineName], card: ModelCard, sigmas: Sequence[Decimal]
) -> list[FoundBaseline]:
    """The models of the baselines, one for each noise level: `<model>-<baseline>-<sigma>`.

    Raises:
        ValueError: a noise level has none.
        NotComparable: a model would see other images.
    """
    found = []
    for name in names:
        for sigma in sorted(sigmas):
            baseline, weights = _find_model(f"{card.id}-{name}-{sigma.normalize():f}")
            check_comparable(baseline, card)
            found.append(FoundBaseline(name=name, sigma=sigma, card=baseline, weights=weights))
    return found


def _find_model(model_id: str) -> tuple[ModelCard, Path]:
    try:
        return find_model(model_id)
    except UnknownModel as error:
        raise ValueError(
            f"{error} benchmarks/accuracy/baselines.py trains a baseline's models."
        ) from error
