"""Turns the options of `promptsmooth evaluate` into an evaluation with everything loaded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path

from app.local.baselines import describe_prompt, find_baselines
from app.local.engine import find_model, find_prompts
from app.local.prompts import LocalPrompts
from app.request.certify import check_fields, parse_fields
from app.request.certify_request import resolve_targets
from app.request.limits import Limits
from models.datasets.card import DatasetCard, describe_folder, get_dataset
from models.datasets.files import count_left_out, list_dataset
from models.datasets.image_folder import Split
from models.datasets.subset import choose_subset
from models.loading.loading import load_vlm
from models.prompts.cards import PromptCard
from models.prompts.catalogue import UnknownPrompt, load_prompt_catalogue
from models.prompts.files import load_prompt
from models.prompts.prompt import Prompt
from worker.contract import MAX_SAMPLES, TemplateTarget
from worker.engine.runner.machine import choose_device, set_threads
from worker.engine.runner.selftest import check_noise
from worker.evaluation.evaluate import Evaluation
from worker.evaluation.question import BaselineName
from worker.settings import WorkerSettings

_LIMITS = Limits(n=MAX_SAMPLES, n0=MAX_SAMPLES)  # of a machine that is one's own


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions:
    """The options of the command line, before anything is looked up.

    Attributes:
        asked: the fields of a certification that the dataset and the prompts do not determine.
        baselines: which models to judge beside the prompts.
    """

    data: Path
    dataset: str | None
    split: Split
    model: str
    prompts: tuple[str, ...]
    baselines: tuple[BaselineName, ...]
    asked: Mapping[str, object]
    images: int
    seed: int
    concurrent: int
    out: Path | None
    data_dir: Path


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

    Every prompting uses the class names and template of the dataset. So all answer the same
    question, and the index of a class is that of its folder.

    Raises:
        ValueError: an option out of range, a folder unlike its card, or a prompt for another model.
        LookupError: no such dataset, model or prompt.
        models.catalogue.weights.WeightsError: the model's files are not those of its card.
    """
    dataset = _find_dataset(options)
    files = choose_subset(
        list_dataset(options.data, dataset, options.split), options.images, seed=options.seed
    )
    card, weights = find_model(options.model)
    prompts = load_named_prompts(options.prompts, find_prompts(options.data_dir))
    fields = parse_fields(
        {
            "template": dataset.template or card.template,
            **options.asked,
            "prompt": [one.id for one in prompts.cards],
            "class_name": list(dataset.class_names),
        }
    )
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
        files=files,
        vlm=load_vlm(card, weights, device),
        targets=targets,
        sigmas=tuple(fields.sigma),
        procedure=fields.requested_procedure,
        alpha=fields.alpha,
        prompts=prompts.vectors,
        learned_on={
            card.sha256: frozenset(card.learning.images) for card in prompts.cards if card.learning
        },
        folder=options.out or Path(f"evaluation-{dataset.id}-{card.id}"),
        ledger=options.data_dir / "attempts",
        baselines=tuple(one.load(device) for one in baselines),
        trained=(*map(describe_prompt, prompts.cards), *(one.describe() for one in baselines)),
        concurrent=options.concurrent,
    )


def count_junk(options: EvaluationOptions) -> int:
    """Returns how many files, such as Thumbs.db or README, the class folders hold beside images."""
    return count_left_out(options.data, _find_dataset(options), options.split)


def _find_dataset(options: EvaluationOptions) -> DatasetCard:
    if options.dataset is None:
        return describe_folder(options.data, options.split)
    return get_dataset(options.dataset)


def parse_radii(texts: Sequence[str]) -> tuple[Decimal, ...]:
    """Parses the radii: ascending, each once. Raises ValueError if one is not a radius."""
    try:
        radii = {Decimal(text) for text in texts}
        if all(radius.is_finite() and radius >= 0 for radius in radii):
            return tuple(sorted(radii))
    except InvalidOperation:
        pass
    raise ValueError(f"a radius is a number from 0 on, got {', '.join(texts)}")
