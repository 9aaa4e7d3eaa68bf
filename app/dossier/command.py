"""The command that asks the question of a run again."""

import shlex
from collections.abc import Iterator

from models.datasets.card import list_datasets
from worker.contract import (
    BankTemplate,
    CohenParameters,
    RoutedTarget,
    StagedParameters,
    TemplateTarget,
    Tuning,
    ZeroShotTarget,
)
from worker.counting.sessions import list_named
from worker.evaluation.question import EvaluationQuestion


def spell_command(question: EvaluationQuestion, attacked: int) -> str | None:
    """The command that asks the same question of the same images, with other noise.

    Prompts are named by their digests. None: `promptsmooth evaluate` has no option for a part of
    the question, which a service can be asked.
    """
    templates = dict.fromkeys(_list_templates(question))
    if len(templates) > 1 or not _is_usual(question):
        return None
    witness = [("witness", str(attacked))] if attacked else []
    options = (*_list_options(question), *(("template", one) for one in templates), *witness)
    words = [word for name, value in options for word in (f"--{name}", value)]
    return shlex.join(["promptsmooth", "evaluate", "--data", "FOLDER", *words])


def _is_usual(question: EvaluationQuestion) -> bool:
    """Whether procedure, tuning and banks are such as the command line can ask for."""
    tunings = [getattr(target, "tuning", Tuning()) for target in question.targets]
    banks = [target.bank for target in question.targets if isinstance(target, RoutedTarget)]
    match question.procedure:
        case StagedParameters(n_max=n_max, tolerance=tolerance) as staged:
            usual = staged == StagedParameters(n_max=n_max, tolerance=tolerance)
        case CohenParameters():
            usual = True
    template_last = all(isinstance(bank[-1], BankTemplate) for bank in banks)
    return usual and template_last and all(tuning == Tuning() for tuning in tunings)


def _list_options(question: EvaluationQuestion) -> Iterator[tuple[str, str]]:
    targets = question.targets
    for card in list_datasets():
        if (card.id, card.class_names) == (question.dataset, targets[0].class_names):
            yield "dataset", card.id
    yield "split", question.split
    yield "model", question.identity.model.id
    yield "images", str(question.images)
    yield "seed", str(question.seed)
    yield from (("prompting", name) for name in dict.fromkeys(one.prompting for one in targets))
    named = (ref.sha256 for target in targets for ref in list_named(target))
    yield from (("prompt", sha256) for sha256 in dict.fromkeys(named))
    yield from (("sigma", f"{sigma:f}") for sigma in question.sigmas)
    yield from (("baseline", one) for one in dict.fromkeys(b.name for b in question.baselines))
    yield from _list_parameters(question)
    yield "alpha", f"{question.alpha:f}"


def _list_parameters(question: EvaluationQuestion) -> Iterator[tuple[str, str]]:
    match question.procedure:
        case CohenParameters(n0=n0, n=n):
            yield from (("procedure", "cohen"), ("n0", str(n0)), ("n", str(n)))
        case StagedParameters(n_max=n_max, tolerance=tolerance):
            yield from (("n-max", str(n_max)), ("tolerance", f"{tolerance:f}"))


def _list_templates(question: EvaluationQuestion) -> Iterator[str]:
    for target in question.targets:
        match target:
            case TemplateTarget(template=template) | ZeroShotTarget(template=template):
                yield template
            case RoutedTarget(bank=bank):
                yield from (one.template for one in bank if isinstance(one, BankTemplate))
            case _:
                pass
