"""A certificate run again: the same noise from the revealed keys, votes compared count by count."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from worker.board import PHASES
from worker.certification import Finding, Phase, Tally
from worker.certification.merkle import VoteTree, path_leads_to
from worker.certifying import Counter
from worker.contract import InputImage, ModelRef, Target
from worker.document import FinishedResult
from worker.engine.protocol import CountRange, OpenSession, PhaseKey, RangeCounted, SessionOpened
from worker.images_store import Image, image_sha256
from worker.sampling.words import NoiseKey


class NotReproducible(ValueError):
    """The document cannot be run again here; the sentence says why."""


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """Counts of one certificate at one prefix, as its document says."""

    phase: Phase
    tally: Tally


@dataclass(frozen=True, kw_only=True)
class Recounted:
    """Votes of one target's prefix, counted again; no tally before the first range."""

    tally: Tally | None = None
    tree: VoteTree = field(default_factory=VoteTree)

    def continued(self, counted: RangeCounted, target_index: int) -> "Recounted":
        """With the votes of the range that follows."""
        counts, ambiguous = counted.counts[target_index], counted.ambiguous[target_index]
        votes = Tally(counts=counts, ambiguous=ambiguous)
        return Recounted(
            tally=votes if self.tally is None else self.tally + votes,
            tree=self.tree.appended(counted.get_votes(target_index)),
        )


def reproduce(result: FinishedResult, image: Image, counter: Counter) -> tuple[Finding, ...]:
    """Counts every look of every certificate again and compares.

    Args:
        result: the document.
        image: the prepared image, uint8 (3, H, W).
        counter: an engine with the model.

    Raises:
        NotReproducible: another image than the certified one.
    """
    if image_sha256(image) != result.input.sha256:
        raise NotReproducible("the image is not the certified one: its integers differ")
    sigmas = tuple(dict.fromkeys(entry.sigma for entry in result.certificates))
    targets = tuple(dict.fromkeys(_target(entry) for entry in result.certificates))
    opened = counter.open(_session(result.model, result.input, result, sigmas, targets), image)
    found = {
        (sigma, phase): _count(counter, sigma_index, phase, sizes, len(targets))
        for sigma_index, sigma in enumerate(sigmas)
        for phase, sizes in _sizes(result, sigma).items()
    }
    return (
        _compare_provenance(result, opened),
        *(
            _compare(place, entry, targets.index(_target(entry)), found)
            for place, entry in enumerate(result.certificates)
        ),
    )


def _compare_provenance(result: FinishedResult, opened: SessionOpened) -> Finding:
    """Whether the f and the noise tables here are those of the document."""
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


def _target(entry: Any) -> Target:
    return Target(prompting=entry.prompting, template=entry.template, class_names=entry.class_names)


def _session(
    model: ModelRef,
    described: InputImage,
    result: FinishedResult,
    sigmas: tuple[Decimal, ...],
    targets: tuple[Target, ...],
) -> OpenSession:
    try:
        keys = {phase: NoiseKey.parse(result.provenance.noise_keys[phase]) for phase in PHASES}
    except KeyError as error:
        raise NotReproducible("the document does not reveal its noise keys") from error
    return OpenSession(
        model=model,
        height=described.height,
        width=described.width,
        targets=targets,
        sigmas=sigmas,
        keys=tuple(PhaseKey(phase=p, low=key.low, high=key.high) for p, key in keys.items()),
    )


def _recorded(entry: Any) -> list[Recorded]:
    if entry.procedure == "staged":
        return [
            Recorded(phase="estimation", tally=Tally(counts=look.counts, ambiguous=look.ambiguous))
            for look in entry.looks
        ]
    selection = Tally(counts=entry.counts_selection, ambiguous=entry.ambiguous_selection)
    estimation = Tally(counts=entry.counts_estimation, ambiguous=entry.ambiguous)
    return [
        Recorded(phase="selection", tally=selection),
        Recorded(phase="estimation", tally=estimation),
    ]


def _sizes(result: FinishedResult, sigma: Decimal) -> dict[Phase, list[int]]:
    """The prefixes to count at one noise level, ascending, by phase."""
    sizes: dict[Phase, set[int]] = {}
    for entry in result.certificates:
        if entry.sigma == sigma:
            for recorded in _recorded(entry):
                sizes.setdefault(recorded.phase, set()).add(recorded.tally.n)
    return {phase: sorted(ns) for phase, ns in sizes.items()}


def _count(
    counter: Counter, sigma_index: int, phase: Phase, sizes: list[int], targets: int
) -> dict[int, list[Recounted]]:
    """Votes of each prefix, per target."""
    found: dict[int, list[Recounted]] = {}
    start, so_far = 0, [Recounted() for _ in range(targets)]
    for size in sizes:
        counter.count(CountRange(sigma_index=sigma_index, phase=phase, start=start, stop=size))
        while start < size:
            counted = counter.receive()
            so_far = [one.continued(counted, place) for place, one in enumerate(so_far)]
            start = counted.stop
        found[size] = so_far
    return found


def _compare(
    place: int,
    entry: Any,
    target_index: int,
    found: Mapping[tuple[Decimal, Phase], Mapping[int, list[Recounted]]],
) -> Finding:
    last: dict[Phase, Recounted] = {}
    for recorded in _recorded(entry):
        again = found[entry.sigma, recorded.phase][recorded.tally.n][target_index]
        last[recorded.phase] = again
        if again.tally != recorded.tally:
            return _finding(
                place,
                holds=False,
                sentence=f"{recorded.phase} at {recorded.tally.n} samples: the document says "
                f"{list(recorded.tally.counts)}, counted again {list(_counts(again))}.",
            )
    roots = {phase: again.tree.root for phase, again in last.items()}
    if roots != entry.votes_root:
        sentence = "The counts are the same, but not every single vote: the Merkle roots differ."
        return _finding(place, holds=False, sentence=sentence)
    sentence = "Counted again with the same noise, every single vote is the same."
    return _finding(place, holds=True, sentence=sentence)


def _counts(again: Recounted) -> tuple[int, ...]:
    return () if again.tally is None else again.tally.counts


def _finding(place: int | None, *, holds: bool, sentence: str) -> Finding:
    return Finding(code="reproduction", holds=holds, sentence=sentence, certificate=place)


@dataclass(frozen=True, kw_only=True)
class ShownVote:
    """One vote as the service shows it, with its path to the root."""

    sample: int
    vote: int
    path: tuple[bytes, ...]


def check_votes(
    result: FinishedResult,
    image: Image,
    counter: Counter,
    *,
    certificate: int,
    phase: Phase,
    shown: Sequence[ShownVote],
) -> tuple[Finding, ...]:
    """Whether votes of an auditor's choice are under the certificate's root, and are f's votes.

    Each costs one noisy image, whatever n was. Samples chosen at random bound the share of votes
    that are wrong.

    Raises:
        NotReproducible: another image, or no such certificate or phase.
    """
    if image_sha256(image) != result.input.sha256:
        raise NotReproducible("the image is not the certified one: its integers differ")
    try:
        entry = result.certificates[certificate]
        root = entry.votes_root[phase]
    except (IndexError, KeyError):
        raise NotReproducible("the document has no votes of that certificate and phase") from None
    n = max(one.tally.n for one in _recorded(entry) if one.phase == phase)
    counter.open(
        _session(result.model, result.input, result, (entry.sigma,), (_target(entry),)), image
    )
    return tuple(_check_vote(counter, certificate, phase, root, n, one) for one in shown)


def _check_vote(
    counter: Counter, certificate: int, phase: Phase, root: str, n: int, shown: ShownVote
) -> Finding:
    i = shown.sample
    if not 0 <= i < n or not path_leads_to(root, n=n, index=i, vote=shown.vote, path=shown.path):
        sentence = f"Sample {i}: the vote shown is not the one under the certificate's root."
        return _finding(certificate, holds=False, sentence=sentence)
    counter.count(CountRange(sigma_index=0, phase=phase, start=i, stop=i + 1))
    (again,) = counter.receive().get_votes(0)
    if again != shown.vote:
        sentence = f"Sample {i}: evaluated again it votes {again}, the service said {shown.vote}."
        return _finding(certificate, holds=False, sentence=sentence)
    sentence = f"Sample {i}: under the root, and evaluated again it votes {again} too."
    return _finding(certificate, holds=True, sentence=sentence)
