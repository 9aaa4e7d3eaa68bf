"""From what is asked, by ids and defaults, to the targets of a request, by digests."""

from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from typing import Annotated, Protocol

from pydantic import AfterValidator, BeforeValidator, Field

from app.request.refusal import FieldInvalid
from models.catalogue.names import clean_name, find_lookalikes, get_looks, require_visible
from models.catalogue.retired import find_prompt_retirement, find_retirement
from models.catalogue.texts import SLOT, check_class_names, check_template, find_alike
from models.prompts.cards import PromptCard
from models.prompts.prompt import split_template
from worker.contract import (
    MAX_BANK,
    MAX_CLASS_NAMES,
    MAX_TARGETS,
    BankEntry,
    BankTemplate,
    Contract,
    FewShotTarget,
    FewShotZeroShotTarget,
    PromptRef,
    RoutedTarget,
    Target,
    TemplateTarget,
    ZeroShotTarget,
)
from worker.contract.certificate.document import Prompting

FindCard = Callable[[str], PromptCard | None]
"""The card of a stored prompt by its id or digest, or None."""


class PromptedModel(Protocol):
    """What targets need to know of a model: a card says it here, `GET /models/{id}` elsewhere."""

    @property
    def id(self) -> str: ...
    @property
    def weights_sha256(self) -> str: ...
    @property
    def class_names(self) -> tuple[str, ...]: ...
    @property
    def template(self) -> str: ...
    @property
    def has_texts(self) -> bool: ...


def _clean(value: object) -> object:
    """Texts as `clean_name` makes them; what is none is left for the next check to refuse."""
    if isinstance(value, list | tuple):
        return tuple(map(_clean, value))
    return clean_name(value) if isinstance(value, str) else value


def _check_visible(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(map(require_visible, names))


MAX_NAME = 1000
"""The most characters of a class name; an operator may allow fewer (`check_name_lengths`)."""
AskedClassNames = Annotated[
    tuple[Annotated[str, Field(max_length=MAX_NAME)], ...],
    Field(max_length=MAX_CLASS_NAMES, fail_fast=True),
    AfterValidator(check_class_names),
    AfterValidator(_check_visible),
    BeforeValidator(_clean),
]
AskedTemplate = Annotated[
    str,
    Field(max_length=1000),
    AfterValidator(check_template),
    AfterValidator(require_visible),
    BeforeValidator(_clean),
]
PromptName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
_TAKES_PROMPT = ("few-shot", "few-shot+zero-shot")


class BankField(Contract):
    """One of a bank's prompts: the id or digest of a stored one, or a template."""

    prompt: PromptName | None = None
    template: AskedTemplate | None = None


class TargetField(Contract):
    """One label set under one prompting; what is left out comes from the prompt or the card."""

    prompting: Prompting = "template"
    prompt: PromptName | None = Field(default=None, description="Id or digest of a stored prompt.")
    bank: Annotated[tuple[BankField, ...], Field(max_length=MAX_BANK, fail_fast=True)] = ()
    template: AskedTemplate | None = None
    class_names: AskedClassNames | None = None


def check_name_lengths(names: Sequence[str], *, most: int, field: str = "class_name") -> None:
    """Raises FieldInvalid for a class name of more characters than the operator allows."""
    if any(len(name) > most for name in names):
        raise FieldInvalid(field, f"class names of at most {most} characters")


def spread(
    promptings: Sequence[Prompting],
    prompts: Sequence[str],
    *,
    template: str | None,
    class_names: tuple[str, ...] | None,
) -> tuple[TargetField, ...]:
    """The same asked in plain fields: every prompting named, with every prompt named.

    One target for each prompting, and for those that take a prompt one for each prompt. Without a
    prompting it is `few-shot` where prompts are named, else `template`.

    Raises:
        FieldInvalid: a prompting lacks its prompt, or a prompt has no use.
    """
    promptings = promptings or (("few-shot",) if prompts else ("template",))
    if prompts and not any(p in (*_TAKES_PROMPT, "routed") for p in promptings):
        raise FieldInvalid("prompt", f"none: {', '.join(promptings)} takes no stored prompt")

    def spread_one(prompting: Prompting) -> Iterator[TargetField]:
        create = partial(TargetField, prompting=prompting, class_names=class_names)
        if prompting == "routed":
            bank = [BankField(prompt=name) for name in prompts]
            bank += [BankField(template=template)] if template else []
            yield create(bank=tuple(bank))
        elif prompting in _TAKES_PROMPT:
            if not prompts:
                raise FieldInvalid(
                    "prompt", f"the id or digest of a stored prompt, which {prompting} takes"
                )
            yield from (create(prompt=name) for name in prompts)
        else:
            yield create(template=template)

    return tuple(field for prompting in promptings for field in spread_one(prompting))


def create_targets(
    asked: Sequence[TargetField],
    card: PromptedModel,
    find_card: FindCard,
    *,
    companions: bool = False,
) -> tuple[Target, ...]:
    """The targets of a request on one model.

    Class names that are not given are the prompt's own, else the model card's. With `companions`
    the targets were asked for together, to be compared: those without a prompt of their own take
    class names and words from the first prompt named, so that all are about the same question.

    Raises:
        FieldInvalid: a prompt is unknown or for another model, or a target makes no sense.
    """
    if not card.has_texts:
        for field in asked:
            _check_of_classifier(field, card)
    resolver = _Resolver(card, find_card, _first_prompt(asked) if companions else None)
    targets = tuple(resolver.create(field) for field in asked)
    if not (1 <= len(targets) <= MAX_TARGETS and _are_told_apart(targets)):
        raise FieldInvalid("prompting", f"1 to {MAX_TARGETS} targets that people can tell apart")
    return targets


def _are_told_apart(targets: Sequence[Target]) -> bool:
    """Whether no two are equal, nor equal but for templates that look alike."""

    def look(target: Target, way: int) -> Target:
        if isinstance(target, TemplateTarget | ZeroShotTarget):
            return target.model_copy(update={"template": get_looks(target.template)[way]})
        return target

    return all(len({look(one, way) for one in targets}) == len(targets) for way in (0, 1))


def _first_prompt(asked: Sequence[TargetField]) -> str | None:
    names = (field.prompt or next((b.prompt for b in field.bank), None) for field in asked)
    return next(filter(None, names), None)


class _Resolver:
    """Looks prompts up and fills in what was left out."""

    def __init__(self, card: PromptedModel, find_card: FindCard, companion: str | None) -> None:
        self._card, self._find = card, cache(find_card)  # a name means one prompt in a request
        self._companion = None if companion is None else self._get(companion)

    def create(self, field: TargetField) -> Target:
        """One target, with everything that it names resolved."""
        if field.bank and field.prompting != "routed":
            raise FieldInvalid("bank", f"none: {field.prompting} chooses among no prompts")
        if field.prompt is not None and field.prompting not in _TAKES_PROMPT:
            raise FieldInvalid("prompt", f"none: {field.prompting} takes no stored prompt")
        match field.prompting:
            case "template" | "zero-shot":
                return self._from_template(field)
            case "few-shot" | "few-shot+zero-shot":
                return self._from_prompt(field)
            case "routed":
                return self._from_bank(field)

    def _from_template(self, field: TargetField) -> Target:
        template, names = self._template(field), self._class_names(field, self._companion)
        if field.prompting == "template":
            return TemplateTarget(template=template, class_names=names)
        try:
            split_template(template)
        except ValueError:
            raise FieldInvalid(
                "template", "words before {}: zero-shot tunes what stands before the class name"
            ) from None
        return ZeroShotTarget(template=template, class_names=names)

    def _from_prompt(self, field: TargetField) -> Target:
        if field.prompt is None:
            raise FieldInvalid(
                "prompt", f"the id or digest of a stored prompt, which {field.prompting} takes"
            )
        if field.template is not None:
            raise FieldInvalid("template", f"none: the words of {field.prompting} are a prompt's")
        card = self._get(field.prompt)
        ref, names = _refer(card), self._class_names(field, card)
        if field.prompting == "few-shot":
            return FewShotTarget(prompt=ref, class_names=names)
        return FewShotZeroShotTarget(prompt=ref, class_names=names)

    def _from_bank(self, field: TargetField) -> Target:
        cards = [self._get(entry.prompt) for entry in field.bank if entry.prompt is not None]
        names = self._class_names(field, cards[0] if cards else self._companion)
        bank = tuple(map(self._entry, field.bank))
        if len(bank) < 2:
            raise FieldInvalid("prompt", f"2 to {MAX_BANK} stored prompts to choose among")
        try:
            return RoutedTarget(bank=bank, class_names=names)
        except ValueError:
            raise FieldInvalid(
                "prompt", "a bank of different prompts, none of which was tuned on an image"
            ) from None

    def _entry(self, entry: BankField) -> BankEntry:
        if (entry.prompt is None) == (entry.template is None):
            raise FieldInvalid("bank", "of each entry either a prompt or a template")
        if entry.template is not None:
            return BankTemplate(template=entry.template)
        assert entry.prompt is not None
        return _refer(self._get(entry.prompt))

    def _class_names(self, field: TargetField, prompt: PromptCard | None) -> tuple[str, ...]:
        names = field.class_names or (prompt or self._card).class_names
        if find_alike(names) is not None:
            raise FieldInvalid(
                "class_name",
                "names that the tokenizer tells apart; two differ in case or spaces alone",
            )
        if find_lookalikes(field.class_names or ()) is not None:
            raise FieldInvalid(
                "class_name",
                "names that people can tell apart; two have characters that look alike",
            )
        return names

    def _template(self, field: TargetField) -> str:
        prompt = self._companion
        if field.template is not None:
            return field.template
        if prompt is not None and prompt.template:
            return prompt.template
        if prompt is not None and prompt.ctx_init:
            return f"{prompt.ctx_init} {{}}{prompt.suffix}"
        return self._card.template

    def _get(self, name: str) -> PromptCard:
        """The card of a stored prompt, which is for this model."""
        found = self._find(name)
        if found is None:
            raise FieldInvalid("prompt", _expect_stored(name))
        if found.weights_sha256 != self._card.weights_sha256:
            raise FieldInvalid("prompt", _expect_for(self._card, found))
        return found


def _check_of_classifier(field: TargetField, card: PromptedModel) -> None:
    """Refuses what only a model that reads texts can do."""
    if field.prompting != "template":
        raise FieldInvalid(
            "prompting",
            f'"template" alone: {card.id} is an image classifier without a text tower, so no '
            "prompt can be learned, tuned or chosen for it",
        )
    if field.template not in (None, SLOT):
        raise FieldInvalid("template", f"none: {card.id} is an image classifier and reads no text")
    if not set(field.class_names or ()) <= set(card.class_names):
        raise FieldInvalid(
            "class_name",
            f"classes of the card of {card.id} (GET /models/{card.id}): it is an image classifier "
            "and knows no others",
        )


def _expect_stored(name: str) -> str:
    expected = "the id or digest of a stored prompt; GET /prompts lists them"
    retired = find_prompt_retirement(name)
    if retired is None:
        return expected
    return f"{expected}. {retired} {retired.prompts[name]!r} takes the place of {name!r}"


def _expect_for(card: PromptedModel, found: PromptCard) -> str:
    expected = f"a prompt for the model {card.id}; this one is for {found.model}"
    retired = find_retirement(found.model)
    return expected if retired is None else f"{expected}. {retired}".rstrip(".")


def _refer(card: PromptCard) -> PromptRef:
    return PromptRef(id=card.id, sha256=card.sha256, method=card.method)
