"""The classifiers of one loaded model, each with its text features computed once."""

import threading

import torch

from models.prompts.prompt import Prompt
from models.vlm.base_classifier import (
    BaseClassifier,
    create_base_classifier,
    create_prompted_classifier,
)
from models.vlm.vlm import VLM
from worker.contract.protocol import TemplateText, Text

_MAX_CLASSIFIERS = 256


class Classifiers:
    """The latest 256 classifiers of a model, by text. They leave with the model.

    One classifier is created at a time, so two sessions with the same text share its features.
    """

    def __init__(self, vlm: VLM) -> None:
        self._vlm = vlm
        self._found: dict[Text, BaseClassifier] = {}
        self._lock = threading.Lock()

    def find_or_create(self, text: Text, prompt: Prompt | None) -> BaseClassifier:
        """The classifier of a text. `prompt` holds the vectors if the text names a prompt.

        Raises:
            ValueError: the text is too long for the model, the model reads two class names alike,
                or the prompt does not fit it.
        """
        with self._lock:
            if text not in self._found:
                while len(self._found) >= _MAX_CLASSIFIERS:
                    self._found.pop(next(iter(self._found)))
                with torch.inference_mode():
                    self._found[text] = self._create(text, prompt)
            return self._found[text]

    def _create(self, text: Text, prompt: Prompt | None) -> BaseClassifier:
        if isinstance(text, TemplateText):
            return create_base_classifier(self._vlm, text.template, text.class_names)
        assert prompt is not None, "pass the prompt that the text names"
        return create_prompted_classifier(self._vlm, prompt, text.class_names)
