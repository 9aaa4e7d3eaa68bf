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
from worker.evaluation.accuracy import Share
from worker.evaluation.clean import CleanImages
from worker.evaluation.others import OtherImages
from worker.evaluation.question import Row
from worker.evaluation.run_file import EvaluatedImage


@dataclass(frozen=True, kw_only=True)
class Noiseless:
    """A row without noise.

    Attributes:
        clean: the accuracy of its base classifier; None if each image has its own, or it is chosen
            from several.
        others: what the prompts tuned on single images answer on the others; None if none is tuned.
    """

    clean: Share | None = None
    others: OtherImages | None = None


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

    def measure(self, row: Row, images: Sequence[EvaluatedImage]) -> Noiseless:
        """Measures a row.

        Args:
            row: the row.
            images: the finished images, in order.

        Raises:
            models.prompts.files.PromptFileError: a tuned prompt is no longer in its folder.
        """
        refs = [image.find_certificate(row).prompt for image in images]
        if len(refs) > 1 and all(ref is not None and ref.is_tuned_on_an_image for ref in refs):
            ids = [ref.id for ref in refs if ref is not None]
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
