"""Measures a row of an evaluation without noise: its own prompt, or the prompts that it tuned."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from models.datasets.files import LabelledFile
from models.prompts.files import load_prompt
from models.prompts.prompt import Prompt
from models.vlm.base_classifier import (
    BaseClassifier,
    create_base_classifier,
    create_prompted_classifier,
)
from models.vlm.vlm import VLM
from worker.contract import FewShotTarget, Target, TemplateTarget
from worker.engine.shelf.identity import find_rows
from worker.evaluation.loaded.clean import CleanImages
from worker.evaluation.noiseless import Noiseless, TunedIds
from worker.evaluation.others import OtherImages
from worker.evaluation.question import Row


@dataclass(frozen=True, kw_only=True, eq=False)
class NoiselessModel:
    """A model with the images of the set, encoded when they are first needed.

    Attributes:
        vlm: the model.
        files: the images, in order.
        prompts: the prompts that targets name, by digest.
        tuned: the folder with the prompts that were tuned on the images.
    """

    vlm: VLM
    files: Sequence[LabelledFile]
    prompts: Mapping[str, Prompt]
    tuned: Path

    @cached_property
    def images(self) -> CleanImages:
        """The images at the model's own batch shape."""
        return CleanImages.encode(self.vlm, self.files, find_rows(self.vlm))

    def measure(self, row: Row, tuned: TunedIds) -> Noiseless:
        """Measures a row.

        Args:
            row: the row.
            tuned: for each finished image, in order, the prompt that was tuned on it for the row.

        Raises:
            models.prompts.files.PromptFileError: a tuned prompt is no longer in its folder.
        """
        ids = [one for one in tuned if one is not None]
        if len(ids) > 1 and len(ids) == len(tuned):
            return Noiseless(others=self._measure_others(ids, row.target.class_names))
        classifier = self._find_classifier(row.target)
        return Noiseless(clean=None if classifier is None else self.images.measure(classifier))

    def _measure_others(self, ids: Sequence[str], class_names: Sequence[str]) -> OtherImages:
        answers = (self.images.answer(self._load_classifier(one, class_names)) for one in ids)
        return OtherImages.of(answers, self.images.classes)

    def _load_classifier(self, prompt_id: str, class_names: Sequence[str]) -> BaseClassifier:
        _, prompt = load_prompt(self.tuned / f"{prompt_id}.toml")
        return create_prompted_classifier(self.vlm, prompt, class_names)

    def _find_classifier(self, target: Target) -> BaseClassifier | None:
        match target:
            case TemplateTarget(template=template, class_names=names):
                with torch.inference_mode():
                    return create_base_classifier(self.vlm, template, names)
            case FewShotTarget(prompt=ref, class_names=names):
                return create_prompted_classifier(self.vlm, self.prompts[ref.sha256], names)
            case _:
                return None
