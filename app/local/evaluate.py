"""Turns the options of `promptsmooth evaluate` into an evaluation with everything loaded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from app.local.baselines import find_baselines
from app.local.engine import find_model, find_prompts
from app.local.evaluation_options import (
    EvaluationOptions,
    choose_images,
    name_fields,
)
from app.local.prompts import LocalPrompts
from app.request.certify import check_fields, parse_fields
from app.request.certify_request import resolve_targets
from app.request.limits import Limits
from models.prompts.cards import PromptCard
from models.prompts.catalogue import UnknownPrompt, load_prompt_catalogue
from models.prompts.files import load_prompt
from models.prompts.prompt import Prompt
from worker.attack.witness import read_settings
from worker.contract import MAX_SAMPLES, TemplateTarget
from worker.engine.measure.first_load import MEASURED_TAU_FOLDER, find_or_measure_tau
from worker.engine.runner.machine import choose_device, set_threads
from worker.engine.runner.selftest import check_noise
from worker.engine.shelf.runtime import load_served, read_runtime
from worker.evaluation.evaluate import Evaluation
from worker.evaluation.trained import describe_prompt
from worker.settings import WorkerSettings

_AT_A_TIME = 8
_LIMITS = Limits(n=MAX_SAMPLES, n0=MAX_SAMPLES)  # of a machine that is one's own


@dataclass(frozen=True, kw_only=True)
class NamedPrompts:
    """The prompts that an evaluation names, by card file or by id, read once."""

    cards: tuple[PromptCard, ...]
    vectors: Mapping[str, Prompt]

    def find_card(self, name: str) -> PromptCard | None:
        """The card of one of them by its id or digest."""
        return next((card for card in self.cards if name in (card.id, card.sha256)), None)


def load_named_prompts(names: Sequence[str], local: LocalPrompts) -> NamedPrompts:
    """Prompts by the path of a card (.toml), by id or by digest.

    Raises:
        UnknownPrompt: this machine has no prompt of that name.
        models.prompts.files.PromptFileError: a prompt's files are not in order.
        ValueError: two prompts have one id.
    """
    loaded = [_load_prompt(name, local) for name in names]
    if len({card.id for card, _ in loaded}) != len(loaded):
        raise ValueError("each prompt is named once, and no two have the same id")
    return NamedPrompts(
        cards=tuple(card for card, _ in loaded),
        vectors={prompt.sha256: prompt for _, prompt in loaded},
    )


def _load_prompt(name: str, local: LocalPrompts) -> tuple[PromptCard, Prompt]:
    if name.endswith(".toml"):
        return load_prompt(Path(name))
    card = local.find_card(name)
    prompt = None if card is None else local.find_prompt(card.sha256)
    if card is None or prompt is None:
        raise UnknownPrompt(name, tuple(sorted(load_prompt_catalogue(local.folder).entries)))
    return card, prompt


def create_evaluation(options: EvaluationOptions) -> Evaluation:
    """Reads cards, lists the images, resolves the promptings and loads the model.

    Raises:
        ValueError: an option out of range, a folder unlike its card, or a prompt for another model.
        LookupError: no such dataset, model or prompt.
        models.catalogue.weights.WeightsError: the model's files are not those of its card.
    """
    chosen = choose_images(options)
    dataset = chosen.dataset
    card, weights = find_model(options.model)
    prompts = load_named_prompts(options.prompts, find_prompts(options.data_dir))
    ids = [one.id for one in prompts.cards]
    fields = parse_fields(name_fields(options, dataset, card.template, ids))
    check_fields(fields, _LIMITS)
    targets = resolve_targets(fields, card, prompts.find_card)
    if options.baselines and not any(isinstance(one, TemplateTarget) for one in targets):
        raise ValueError("a baseline classifies by the template: ask for that prompting too")
    settings = WorkerSettings(data_dir=options.data_dir)
    set_threads(settings.threads)
    check_noise()
    device = choose_device(settings.device)
    baselines = find_baselines(options.baselines, card, fields.sigma)
    return Evaluation(
        dataset=dataset.id,
        split=options.split,
        seed=options.seed,
        files=chosen.files,
        vlm=load_served(card, weights, device, read_runtime(settings)),
        targets=targets,
        sigmas=tuple(fields.sigma),
        procedure=fields.requested_procedure,
        alpha=fields.alpha,
        prompts=prompts.vectors,
        learned_on={
            card.sha256: frozenset(card.learning.images) for card in prompts.cards if card.learning
        },
        folder=options.out or Path(f"evaluation-{dataset.id}-{card.id}"),
        secrets=options.data_dir / "run-secrets",
        ledger=options.data_dir / "attempts",
        baselines=tuple(one.load(device, read_runtime(settings)) for one in baselines),
        trained=(*map(describe_prompt, prompts.cards), *(one.describe() for one in baselines)),
        concurrent=min(options.concurrent or _AT_A_TIME, 64),
        measure_tau=partial(find_or_measure_tau, folder=options.data_dir / MEASURED_TAU_FOLDER),
        attacked=options.attacked,
        witness=read_settings(settings),
    )
