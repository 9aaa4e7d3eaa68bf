"""Baselines: models trained for one noise level each, judged beside prompts on the same noise."""

from dataclasses import dataclass
from decimal import Decimal

from models.catalogue.cards import ModelCard
from models.vlm.vlm import VLM
from worker.engine.shelf.identity import MeasureTau, create_identity
from worker.evaluation.question import BaselineModel, BaselineName


class NotComparable(ValueError):
    """A baseline's model would not see the same image."""


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """A baseline's model for one noise level, loaded."""

    name: BaselineName
    sigma: Decimal
    vlm: VLM

    def describe(self, measure_tau: MeasureTau | None = None) -> BaselineModel:
        """What a run's header states of it."""
        identity = create_identity(self.vlm, measure_tau=measure_tau)
        return BaselineModel(name=self.name, sigma=self.sigma, identity=identity)


def check_comparable(card: ModelCard, evaluated: ModelCard) -> None:
    """Passes if both models take the same 8-bit image from a file.

    Mean and standard deviation may differ: they belong to the classifier.

    Raises:
        NotComparable: size, resizing, interpolation or grey differ.
    """
    ours, theirs = (
        one.preprocessing.model_dump(exclude={"mean", "std"}) for one in (card, evaluated)
    )
    if ours != theirs:
        raise NotComparable(
            f"The model {card.id!r} prepares images in another way than {evaluated.id!r}, so the "
            "two cannot be judged on the same image and noise."
        )
