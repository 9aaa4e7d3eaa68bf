"""What a document states of its votes, and the session in which they are counted again."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from models.prompts.prompt import Prompt
from worker.certification import Finding, Phase, Tally
from worker.contract import Identity, PromptRef, protocol
from worker.contract.certificate.document import BallotName, FinishedResult, LookCounts
from worker.contract.image import Image, image_sha256
from worker.contract.prompt import EncodedPrompt
from worker.counting.contests import PHASES
from worker.counting.other_f import describe_other
from worker.counting.records.files import FindPrompt
from worker.counting.sessions import create_bank_text
from worker.sampling.words import NoiseKey


class NotReproducible(ValueError):
    """The document cannot be run again here. The message says why."""


def require_certified(result: FinishedResult, image: Image) -> None:
    """Raises NotReproducible unless the image is the certified one."""
    if image_sha256(image) != result.input.sha256:
        raise NotReproducible("the image is not the certified one: its integers differ")


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """The counts of one ballot at one prefix, as the document states them."""

    phase: Phase
    tally: Tally


@dataclass(frozen=True, kw_only=True)
class Rested:
    """One ballot that a certificate rests on: its recorded counts, and the roots of its votes."""

    name: BallotName
    ballot: protocol.Ballot
    recorded: tuple[Recorded, ...]
    roots: Mapping[Phase, str]

    def last(self, phase: Phase) -> int:
        """The number of samples counted in a phase, or 0."""
        return max((one.tally.n for one in self.recorded if one.phase == phase), default=0)


def rested_on(entry: Any) -> tuple[Rested, ...]:
    """The ballots of a certificate: one, or the selector's and that of the prompt it chose."""
    recorded = _recorded(entry)
    roots = entry.votes_root
    if entry.routing is None:
        ballot = protocol.ClassBallot(text=_text(entry))
        return (Rested(name="prediction", ballot=ballot, recorded=recorded, roots=roots),)
    bank = tuple(create_bank_text(one, entry.class_names) for one in entry.routing.bank)
    chosen = protocol.ClassBallot(text=bank[entry.routing.selected_index])
    selector = entry.routing.selector
    return (
        Rested(
            name="selector",
            ballot=protocol.SelectorBallot(bank=bank),
            recorded=_recorded_looks(selector.looks),
            roots=selector.votes_root,
        ),
        Rested(name="prediction", ballot=chosen, recorded=recorded, roots=roots),
    )


def _text(entry: Any) -> protocol.TemplateText | protocol.PromptText:
    if entry.prompt is None:
        return protocol.TemplateText(template=entry.template, class_names=entry.class_names)
    return protocol.PromptText(prompt_sha256=entry.prompt.sha256, class_names=entry.class_names)


def _recorded(entry: Any) -> tuple[Recorded, ...]:
    if entry.procedure == "staged":
        return _recorded_looks(entry.looks)
    selection = Tally(counts=entry.counts_selection, ambiguous=entry.ambiguous_selection)
    estimation = Tally(counts=entry.counts_estimation, ambiguous=entry.ambiguous)
    return (
        Recorded(phase="selection", tally=selection),
        Recorded(phase="estimation", tally=estimation),
    )


def _recorded_looks(looks: Sequence[LookCounts]) -> tuple[Recorded, ...]:
    return tuple(Recorded(phase="estimation", tally=look.tally) for look in looks)


Level = dict[int, tuple[Rested, ...]]
"""The ballots of the certificates at one noise level, by their places in the document."""


def list_levels(result: FinishedResult) -> dict[Decimal, Level]:
    levels: dict[Decimal, Level] = {}
    for place, entry in enumerate(result.certificates):
        levels.setdefault(entry.sigma, {})[place] = rested_on(entry)
    return levels


def _list_differing(result: FinishedResult, opened: protocol.SessionOpened) -> list[str]:
    """The fields of the identity here that are not those of the document."""
    here = opened.identity
    names = set(Identity.model_fields) - {"model", "architecture", "alike"}
    if here.tau is None:  # not measured here: votes are counted under that of the document
        names.remove("tau")
    said = result.provenance
    return sorted(name for name in names if getattr(here, name) != getattr(said, name))


def describe_f(result: FinishedResult, opened: protocol.SessionOpened) -> str | None:
    """Names the f here where it is not known to be the document's; None where it is."""
    differing = _list_differing(result, opened)
    if result.provenance.fingerprint is None:
        others = [name for name in differing if name != "fingerprint"]
        unnamed = "an f whose last bits may differ, for the document names no fingerprint"
        return f"{unnamed} ({', '.join(others)} differ)" if others else unnamed
    several = result.provenance.alike
    if opened.identity.fingerprint in several:
        differing = [name for name in differing if name != "fingerprint"]
    if differing:
        return describe_other(differing)
    return "one of several f that tau covers" if len(several) > 1 else None


def create_recount(
    result: FinishedResult, levels: Mapping[Decimal, Level], find_prompt: FindPrompt
) -> protocol.OpenSession:
    """The session that counts the votes again, under the document's tau."""
    try:
        keys = {phase: NoiseKey.parse(result.provenance.noise_keys[phase]) for phase in PHASES}
    except KeyError as error:
        raise NotReproducible("the document does not reveal its noise keys") from error
    ballots = tuple(
        tuple(rested.ballot for rests in level.values() for rested in rests)
        for level in levels.values()
    )
    prompts = create_prompts(_named(result), find_prompt)
    try:
        return protocol.OpenSession(
            model=result.model,
            height=result.input.height,
            width=result.input.width,
            prompts=prompts,
            sigmas=tuple(levels),
            ballots=ballots,
            tau=result.provenance.tau or 0.0,
            keys=tuple(
                protocol.PhaseKey(phase=p, low=key.low, high=key.high) for p, key in keys.items()
            ),
        )
    except ValueError as error:
        raise NotReproducible(
            "the document does not have the same label sets at every noise level"
        ) from error


def create_prompts(
    named: Iterable[PromptRef], find_prompt: FindPrompt
) -> tuple[EncodedPrompt, ...]:
    """The prompts that certificates name. NotReproducible if one cannot be found."""
    found: dict[str, Prompt] = {}
    for ref in named:
        prompt = find_prompt(ref.sha256)
        if prompt is None:
            raise NotReproducible(
                f"the prompt {ref.id} with the digest {ref.sha256} is needed and is not at hand: "
                "name its file with --prompt (the service gives it at /prompts/{digest}/ctx)"
            )
        found[ref.sha256] = prompt
    return tuple(map(EncodedPrompt.of, found.values()))


def _named(result: FinishedResult) -> list[PromptRef]:
    single = [entry.prompt for entry in result.certificates if entry.prompt is not None]
    banks = [entry.routing.bank for entry in result.certificates if entry.routing is not None]
    return single + [one for bank in banks for one in bank if isinstance(one, PromptRef)]


def create_finding(place: int | None, *, holds: bool, sentence: str) -> Finding:
    return Finding(code="reproduction", holds=holds, sentence=sentence, certificate=place)
