"""Runs a certificate again: draws the same noise from the revealed keys and compares all counts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from models.prompts.prompt import Prompt
from worker.certification import Finding, Phase, Tally
from worker.certification.merkle import VoteTree, path_leads_to
from worker.contract import PromptRef, protocol
from worker.contract.certificate.document import BallotName, FinishedResult, LookCounts
from worker.contract.image import Image, image_sha256
from worker.contract.prompt import EncodedPrompt
from worker.contract.votes import VoteWithPath
from worker.counting.contests import PHASES
from worker.counting.counter import Counter
from worker.counting.records.files import FindPrompt
from worker.counting.sessions import create_bank_text
from worker.sampling.words import NoiseKey


class NotReproducible(ValueError):
    """The document cannot be run again here. The message says why."""


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


@dataclass(frozen=True, kw_only=True)
class Recounted:
    """The votes of one ballot's prefix, counted again. There is no tally before the first range."""

    tally: Tally | None = None
    tree: VoteTree = field(default_factory=VoteTree)

    def continued(self, counted: protocol.RangeCounted, ballot_index: int) -> "Recounted":
        """The votes with those of the next range added."""
        votes = counted.tallies[ballot_index]
        return Recounted(
            tally=votes if self.tally is None else self.tally + votes,
            tree=self.tree.appended(counted.get_votes(ballot_index)),
        )


def reproduce(
    result: FinishedResult,
    image: Image,
    counter: Counter,
    find_prompt: FindPrompt = lambda _: None,
) -> tuple[Finding, ...]:
    """Counts each look of each certificate again and compares the votes.

    Args:
        result: the document.
        image: the prepared image, uint8 (3, H, W).
        counter: an engine with the model.
        find_prompt: the prompts that certificates name, by digest. Tuned prompts are frozen: they
            are used as they are, not tuned again.

    Raises:
        NotReproducible: another image than the certified one, or a prompt is not at hand.
    """
    if image_sha256(image) != result.input.sha256:
        raise NotReproducible("the image is not the certified one: its integers differ")
    levels = _levels(result)
    opened = counter.open(_session(result, levels, find_prompt), image)
    findings: dict[int, Finding] = {}
    for sigma_index, level in enumerate(levels.values()):
        ballots = [rested for rests in level.values() for rested in rests]
        again = {
            phase: _count(counter, sigma_index, phase, sizes, len(ballots))
            for phase, sizes in _sizes(ballots).items()
        }
        at = 0
        for place, rests in level.items():
            findings[place] = _compare(place, rests, at, again)
            at += len(rests)
    return (_compare_provenance(result, opened), *(findings[place] for place in sorted(findings)))


Level = dict[int, tuple[Rested, ...]]
"""The ballots of the certificates at one noise level, by their places in the document."""


def _levels(result: FinishedResult) -> dict[Decimal, Level]:
    levels: dict[Decimal, Level] = {}
    for place, entry in enumerate(result.certificates):
        levels.setdefault(entry.sigma, {})[place] = rested_on(entry)
    return levels


def _compare_provenance(result: FinishedResult, opened: protocol.SessionOpened) -> Finding:
    """Compares the f and the noise tables here with those of the document."""
    here = opened.identity.model_dump(exclude={"model", "architecture"})
    said = result.provenance.model_dump(include=set(here))
    differing = sorted(name for name in here if here[name] != said[name])
    if opened.table_sha256 != result.provenance.table_sha256:
        return _finding(
            None, holds=False, sentence="The noise tables here are not those the document names."
        )
    if differing:
        names = ", ".join(differing)
        sentence = f"Counted here under another identity ({names}): votes near a tie may differ."
        return _finding(None, holds=True, sentence=sentence)
    return _finding(None, holds=True, sentence="Same f, same noise tables.")


def _session(
    result: FinishedResult, levels: Mapping[Decimal, Level], find_prompt: FindPrompt
) -> protocol.OpenSession:
    try:
        keys = {phase: NoiseKey.parse(result.provenance.noise_keys[phase]) for phase in PHASES}
    except KeyError as error:
        raise NotReproducible("the document does not reveal its noise keys") from error
    ballots = tuple(
        tuple(rested.ballot for rests in level.values() for rested in rests)
        for level in levels.values()
    )
    prompts = _prompts(result, find_prompt)
    try:
        return protocol.OpenSession(
            model=result.model,
            height=result.input.height,
            width=result.input.width,
            prompts=prompts,
            sigmas=tuple(levels),
            ballots=ballots,
            keys=tuple(
                protocol.PhaseKey(phase=p, low=key.low, high=key.high) for p, key in keys.items()
            ),
        )
    except ValueError as error:
        raise NotReproducible(
            "the document does not have the same label sets at every noise level"
        ) from error


def _prompts(result: FinishedResult, find_prompt: FindPrompt) -> tuple[EncodedPrompt, ...]:
    """The prompts that certificates name. NotReproducible if one cannot be found."""
    found: dict[str, Prompt] = {}
    for ref in _named(result):
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


def _sizes(ballots: Sequence[Rested]) -> dict[Phase, list[int]]:
    """The lengths of the prefixes to count at one noise level, ascending, by phase."""
    sizes: dict[Phase, set[int]] = {}
    for rested in ballots:
        for recorded in rested.recorded:
            sizes.setdefault(recorded.phase, set()).add(recorded.tally.n)
    return {phase: sorted(ns) for phase, ns in sizes.items()}


def _count(
    counter: Counter, sigma_index: int, phase: Phase, sizes: list[int], ballots: int
) -> dict[int, list[Recounted]]:
    """Counts each prefix. Returns the votes on each ballot, by length."""
    found: dict[int, list[Recounted]] = {}
    start, so_far = 0, [Recounted() for _ in range(ballots)]
    for size in sizes:
        counter.count(
            protocol.CountRange(sigma_index=sigma_index, phase=phase, start=start, stop=size)
        )
        while start < size:
            counted = counter.receive()
            so_far = [one.continued(counted, place) for place, one in enumerate(so_far)]
            start = counted.stop
        found[size] = so_far
    return found


def _compare(
    place: int,
    rests: Sequence[Rested],
    at: int,
    found: Mapping[Phase, Mapping[int, list[Recounted]]],
) -> Finding:
    """Compares one certificate with its ballots counted again, which begin at place `at`."""
    for i, rested in enumerate(rests, start=at):
        last: dict[Phase, Recounted] = {}
        for recorded in rested.recorded:
            again = found[recorded.phase][recorded.tally.n][i]
            last[recorded.phase] = again
            if again.tally != recorded.tally:
                return _finding(
                    place,
                    holds=False,
                    sentence=f"{recorded.phase} at {recorded.tally.n} samples ({rested.name}): the "
                    f"document says {list(recorded.tally.counts)}, counted again "
                    f"{list(_counts(again))}.",
                )
        if {phase: again.tree.root for phase, again in last.items()} != rested.roots:
            sentence = "The counts are the same, but not every single vote: Merkle roots differ."
            return _finding(place, holds=False, sentence=sentence)
    sentence = "Counted again with the same noise, every single vote is the same."
    return _finding(place, holds=True, sentence=sentence)


def _counts(again: Recounted) -> tuple[int, ...]:
    return () if again.tally is None else again.tally.counts


def _finding(place: int | None, *, holds: bool, sentence: str) -> Finding:
    return Finding(code="reproduction", holds=holds, sentence=sentence, certificate=place)


def check_votes(
    result: FinishedResult,
    image: Image,
    counter: Counter,
    find_prompt: FindPrompt = lambda _: None,
    *,
    certificate: int,
    phase: Phase,
    shown: Sequence[VoteWithPath],
    ballot: BallotName = "prediction",
) -> tuple[Finding, ...]:
    """Checks whether votes that an auditor chose are under the certificate's root and are f's.

    Each vote costs one noisy image, whatever n is. Samples chosen at random bound the share of
    wrong votes.

    Raises:
        NotReproducible: another image, or no such certificate or phase.
    """
    if image_sha256(image) != result.input.sha256:
        raise NotReproducible("the image is not the certified one: its integers differ")
    rested = _find_rested(result, certificate, phase, ballot)
    sigma = result.certificates[certificate].sigma
    counter.open(_session(result, {sigma: {certificate: (rested,)}}, find_prompt), image)
    root, n = rested.roots[phase], rested.last(phase)
    return tuple(_check_vote(counter, certificate, phase, root, n, one) for one in shown)


def _find_rested(
    result: FinishedResult, certificate: int, phase: Phase, ballot: BallotName
) -> Rested:
    if certificate < len(result.certificates):
        for rested in rested_on(result.certificates[certificate]):
            if rested.name == ballot and phase in rested.roots:
                return rested
    raise NotReproducible("the document has no votes of that certificate, phase and ballot")


def _check_vote(
    counter: Counter, certificate: int, phase: Phase, root: str, n: int, shown: VoteWithPath
) -> Finding:
    i = shown.sample
    if not 0 <= i < n or not path_leads_to(root, n=n, index=i, vote=shown.vote, path=shown.path):
        sentence = f"Sample {i}: the vote shown is not the one under the certificate's root."
        return _finding(certificate, holds=False, sentence=sentence)
    counter.count(protocol.CountRange(sigma_index=0, phase=phase, start=i, stop=i + 1))
    (again,) = counter.receive().get_votes(0)
    if again != shown.vote:
        sentence = f"Sample {i}: evaluated again it votes {again}, the service said {shown.vote}."
        return _finding(certificate, holds=False, sentence=sentence)
    sentence = f"Sample {i}: under the root, and evaluated again it votes {again} too."
    return _finding(certificate, holds=True, sentence=sentence)
