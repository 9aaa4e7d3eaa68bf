"""Turns the targets of a request into the sessions that engines count and tune."""

from collections.abc import Callable, Iterator, Mapping

from worker.certification import Phase
from worker.contract import (
    BankEntry,
    BankTemplate,
    CertifyRequest,
    FewShotTarget,
    FewShotZeroShotTarget,
    PromptRef,
    RoutedTarget,
    Target,
    TemplateTarget,
    TunedTarget,
    ZeroShotTarget,
)
from worker.contract.prompt import EncodedPrompt
from worker.contract.protocol import (
    Ballot,
    ClassBallot,
    OpenSession,
    PhaseKey,
    PromptsTuned,
    PromptText,
    SelectorBallot,
    TemplateText,
    Text,
    TunedPrompt,
    TunePrompts,
    TuningStart,
)
from worker.sampling.words import NoiseKey

NOTHING_TUNED = PromptsTuned(weights_sha256="0" * 64, tuned=())
Prompts = Mapping[str, EncodedPrompt]
"""Prompts by digest."""


class PromptMissing(LookupError):
    """A prompt that a request names is not stored."""


def find_prompts(request: CertifyRequest, find: Callable[[str], EncodedPrompt | None]) -> Prompts:
    """Finds the prompts that a request names. Returns them by digest.

    Raises:
        PromptMissing: one of them is not stored, or is not stored any more.
    """
    found: dict[str, EncodedPrompt] = {}
    for ref in _named(request):
        prompt = find(ref.sha256)
        if prompt is None:
            raise PromptMissing(f"the prompt {ref.id} is no longer stored; import it again")
        found[ref.sha256] = prompt
    return found


def _named(request: CertifyRequest) -> Iterator[PromptRef]:
    return (ref for target in request.targets for ref in list_named(target))


def list_named(target: Target) -> tuple[PromptRef, ...]:
    """The stored prompts that a target names."""
    match target:
        case FewShotTarget(prompt=ref) | FewShotZeroShotTarget(prompt=ref):
            return (ref,)
        case RoutedTarget(bank=bank):
            return tuple(entry for entry in bank if isinstance(entry, PromptRef))
    return ()


def create_tuning(request: CertifyRequest, prompts: Prompts, key: NoiseKey) -> TunePrompts:
    """The order by which an engine tunes the prompts of a request on its image."""
    return TunePrompts(
        model=request.model,
        height=request.input.height,
        width=request.input.width,
        prompts=tuple(prompts.values()),
        sigmas=request.sigmas,
        starts=tuple(_create_start(target) for _, target in request.tuned_targets),
        low=key.low,
        high=key.high,
    )


def _create_start(target: TunedTarget) -> TuningStart:
    names = target.class_names
    text: Text = (
        TemplateText(template=target.template, class_names=names)
        if isinstance(target, ZeroShotTarget)
        else PromptText(prompt_sha256=target.prompt.sha256, class_names=names)
    )
    return TuningStart(text=text, tuning=target.tuning)


def find_tuned(
    request: CertifyRequest, tuned: PromptsTuned, sigma_index: int, target_index: int
) -> TunedPrompt | None:
    """The prompt tuned for one certificate; None if its target has no tuned prompt."""
    for place, (tuned_index, _) in enumerate(request.tuned_targets):
        if tuned_index == target_index:
            return tuned.tuned[sigma_index][place]
    return None


def create_session(
    request: CertifyRequest,
    prompts: Prompts,
    tuned: PromptsTuned,
    keys: Mapping[Phase, NoiseKey],
) -> OpenSession:
    """The session in which an engine counts the votes of a request."""
    frozen = {one.prompt.sha256: one.prompt for level in tuned.tuned for one in level}
    return OpenSession(
        model=request.model,
        height=request.input.height,
        width=request.input.width,
        prompts=(*prompts.values(), *frozen.values()),
        sigmas=request.sigmas,
        ballots=tuple(
            tuple(
                ballot
                for place, target in enumerate(request.targets)
                for ballot in _ballots(target, find_tuned(request, tuned, i, place))
            )
            for i in range(len(request.sigmas))
        ),
        keys=tuple(PhaseKey(phase=p, low=key.low, high=key.high) for p, key in keys.items()),
    )


def _ballots(target: Target, tuned: TunedPrompt | None) -> tuple[Ballot, ...]:
    """The ballots of one certificate, in the order of its contest's options."""
    names = target.class_names
    match target:
        case TemplateTarget(template=template):
            return (ClassBallot(text=TemplateText(template=template, class_names=names)),)
        case FewShotTarget(prompt=ref):
            return (ClassBallot(text=PromptText(prompt_sha256=ref.sha256, class_names=names)),)
        case ZeroShotTarget() | FewShotZeroShotTarget():
            assert tuned is not None, "its prompt is tuned before it is certified"
            text = PromptText(prompt_sha256=tuned.prompt.sha256, class_names=names)
            return (ClassBallot(text=text),)
        case RoutedTarget(bank=bank):
            texts = tuple(create_bank_text(entry, names) for entry in bank)
            return (SelectorBallot(bank=texts), *(ClassBallot(text=text) for text in texts))


def create_bank_text(entry: BankEntry, class_names: tuple[str, ...]) -> Text:
    """The text of one prompt of a bank."""
    if isinstance(entry, BankTemplate):
        return TemplateText(template=entry.template, class_names=class_names)
    return PromptText(prompt_sha256=entry.sha256, class_names=class_names)
