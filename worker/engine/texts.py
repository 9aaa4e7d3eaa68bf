"""Turns the texts of a session into voters and into the starting points of tuning."""

from collections.abc import Sequence

from models.learning.selector import PromptSelector
from models.learning.template_prompt import create_template_prompt
from models.learning.zero_shot import TuningStep
from models.prompts.prompt import Prompt
from models.vlm.base_classifier import BaseClassifier, check_bank
from worker.contract import protocol
from worker.contract.prompt import EncodedPrompt
from worker.engine.runner.batch import Voter
from worker.engine.shelf.loaded_model import LoadedModel
from worker.engine.shelf.refusal import SessionNotServed
from worker.engine.tuning import Start
from worker.engine.voting import ClassVoter, PromptVoter


class SessionTexts:
    """The texts of one session under one model, with the prompts the session carries.

    `tau` stands in for the model's own.
    """

    def __init__(
        self, model: LoadedModel, prompts: Sequence[EncodedPrompt], *, tau: float | None = None
    ) -> None:
        self._vlm, self._classifiers = model.vlm, model.classifiers
        self._tau = (model.identity.tau or 0.0) if tau is None else tau
        try:
            decoded = [prompt.decode() for prompt in prompts]
        except ValueError as error:
            raise SessionNotServed("prompt_unusable", str(error)) from error
        self._prompts = {prompt.sha256: prompt for prompt in decoded}

    def create_voter(self, ballot: protocol.Ballot) -> Voter:
        """The voter for a ballot.

        Raises:
            SessionNotServed: a text or prompt does not fit this model, or a prompt is missing.
        """
        match ballot:
            case protocol.ClassBallot(text=text):
                return ClassVoter(self.create_classifier(text), self._tau)
            case protocol.SelectorBallot(bank=bank):
                selector = PromptSelector(classifiers=tuple(map(self.create_classifier, bank)))
                self._check_bank(bank)
                return PromptVoter(selector, self._tau)

    def create_start(self, start: protocol.TuningStart) -> Start:
        """The start of a prompt's tuning. Raises the errors of `create_voter`."""
        text, tuning = start.text, start.tuning
        prompt = self._find_prompt(text) or self._template_prompt(text)
        self.create_classifier(text)  # refuses long class names before any copy is drawn
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

    def _template_prompt(self, text: protocol.Text) -> Prompt:
        assert isinstance(text, protocol.TemplateText)
        try:
            return create_template_prompt(self._vlm, text.template, text.class_names)
        except ValueError as error:
            raise SessionNotServed("text_unusable", str(error)) from error

    def create_classifier(self, text: protocol.Text) -> BaseClassifier:
        """The classifier of a text. Raises the errors of `create_voter`."""
        try:
            return self._classifiers.find_or_create(text, self._find_prompt(text))
        except ValueError as error:
            raise SessionNotServed("text_unusable", str(error)) from error

    def _check_bank(self, bank: Sequence[protocol.Text]) -> None:
        entries = [
            text.template
            if isinstance(text, protocol.TemplateText)
            else self._prompts[text.prompt_sha256]
            for text in bank
        ]
        try:
            check_bank(self._vlm, entries, bank[0].class_names)
        except ValueError as error:
            raise SessionNotServed("text_unusable", str(error)) from error

    def _find_prompt(self, text: protocol.Text) -> Prompt | None:
        """The prompt that a text names; None for a template."""
        if not isinstance(text, protocol.PromptText):
            return None
        if (prompt := self._prompts.get(text.prompt_sha256)) is None:
            raise SessionNotServed(
                "prompt_unusable", "the job does not carry the prompt that it names"
            )
        return prompt
