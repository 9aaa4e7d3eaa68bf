"""From the texts of a session to classifiers, whose text features are computed once."""

import threading
from collections.abc import Sequence

import torch

from models.base_classifier import (
    BaseClassifier,
    create_base_classifier,
    create_prompted_classifier,
)
from models.prompt import Prompt
from models.selector import Selector
from models.template_prompt import create_template_prompt
from models.vlm import VLM
from models.zero_shot import TuningStep
from worker.encoded_prompt import EncodedPrompt
from worker.engine.protocol import (
    Ballot,
    ClassBallot,
    PromptText,
    SelectorBallot,
    TemplateText,
    Text,
    TuningStart,
)
from worker.engine.refusal import SessionNotServed
from worker.engine.tuning import Start
from worker.engine.voting import ClassVoter, PromptVoter, Voter

_MAX_CLASSIFIERS = 256


class Classifiers:
    """The classifiers of all models, the last few hundred of them, by model and text.

    One is made at a time: two sessions with the same text share its features.
    """

    def __init__(self) -> None:
        self._found: dict[tuple[str, Text], BaseClassifier] = {}
        self._lock = threading.Lock()

    def find_or_create(self, vlm: VLM, text: Text, prompt: Prompt | None) -> BaseClassifier:
        """The classifier of a text; `prompt` holds its vectors where it names a prompt.

        Raises:
            ValueError: the text is too long for the model, or the prompt is not for it.
        """
        key = (vlm.card.id, text)
        with self._lock:
            if key not in self._found:
                while len(self._found) >= _MAX_CLASSIFIERS:
                    self._found.pop(next(iter(self._found)))
                with torch.inference_mode():
                    self._found[key] = _create(vlm, text, prompt)
            return self._found[key]


def _create(vlm: VLM, text: Text, prompt: Prompt | None) -> BaseClassifier:
    if isinstance(text, TemplateText):
        return create_base_classifier(vlm, text.template, text.class_names)
    assert prompt is not None, "a text that names a prompt comes with it"
    return create_prompted_classifier(vlm, prompt, text.class_names)


class SessionTexts:
    """The texts of one session under one model, with the prompts that the session carries."""

    def __init__(
        self, vlm: VLM, prompts: Sequence[EncodedPrompt], classifiers: Classifiers
    ) -> None:
        self._vlm, self._classifiers = vlm, classifiers
        try:
            decoded = [prompt.decode() for prompt in prompts]
        except ValueError as error:
            raise SessionNotServed("prompt_unusable", str(error)) from error
        self._prompts = {prompt.sha256: prompt for prompt in decoded}

    def create_voter(self, ballot: Ballot, tau: float) -> Voter:
        """What votes on a ballot.

        Raises:
            SessionNotServed: a text or prompt is not for this model, or a prompt is missing.
        """
        match ballot:
            case ClassBallot(text=text):
                return ClassVoter(self._classifier(text), tau)
            case SelectorBallot(bank=bank):
                selector = Selector(classifiers=tuple(map(self._classifier, bank)))
                return PromptVoter(selector, tau)

    def create_start(self, start: TuningStart) -> Start:
        """Where the tuning of a prompt starts. SessionNotServed as `create_voter`."""
        text, tuning = start.text, start.tuning
        prompt = self._find_prompt(text) or self._template_prompt(text)
        self._classifier(text)  # refuses class names that are too long before a copy is drawn
        return Start(
            prompt=prompt,
            class_names=text.class_names,
            copies=tuning.copies,
            step=TuningStep(
                steps=tuning.steps,
                learning_rate=tuning.learning_rate,
                weight_decay=tuning.weight_decay,
            ),
        )

    def _template_prompt(self, text: Text) -> Prompt:
        assert isinstance(text, TemplateText)
        try:
            return create_template_prompt(self._vlm, text.template, text.class_names)
        except ValueError as error:
            raise SessionNotServed("text_unusable", str(error)) from error

    def _classifier(self, text: Text) -> BaseClassifier:
        try:
            return self._classifiers.find_or_create(self._vlm, text, self._find_prompt(text))
        except ValueError as error:
            raise SessionNotServed("text_unusable", str(error)) from error

    def _find_prompt(self, text: Text) -> Prompt | None:
        """The prompt that a text names; None for a template."""
        if not isinstance(text, PromptText):
            return None
        if (prompt := self._prompts.get(text.prompt_sha256)) is None:
            raise SessionNotServed("prompt_unusable", "the job does not carry the prompt it names")
        return prompt
