"""Runs a certificate again: draws the same noise from the revealed keys and compares all counts."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from worker.certification import Finding, Phase, Tally
from worker.certification.merkle import NO_VOTE, VoteTree
from worker.contract import protocol
from worker.contract.certificate.ballots import find_doubted
from worker.contract.certificate.document import FinishedResult, find_alpha
from worker.contract.image import Image
from worker.counting.counter import Counter
from worker.counting.other_f import Judgement, judge_counts, judge_ties
from worker.counting.recorded import (
    Level,
    Recorded,
    Rested,
    create_finding,
    create_recount,
    describe_f,
    list_levels,
    require_certified,
)
from worker.counting.records.files import FindPrompt


@dataclass(frozen=True, kw_only=True)
class Recounted:
    """The votes of one ballot's prefix, counted again. There is no tally before the first range."""

    tally: Tally | None = None
    tree: VoteTree = field(default_factory=VoteTree)

    def continued(
        self, counted: protocol.RangeCounted, ballot_index: int, doubted: Collection[int]
    ) -> "Recounted":
        """The votes with those of the next range added; doubted samples vote for nothing."""
        votes = tuple(
            NO_VOTE if sample in doubted else vote
            for sample, vote in enumerate(counted.get_votes(ballot_index), counted.start)
        )
        tally = Tally.of_votes(votes, len(counted.counts[ballot_index]))
        return Recounted(
            tally=tally if self.tally is None else self.tally + tally,
            tree=self.tree.appended(votes),
        )


def reproduce(
    result: FinishedResult,
    image: Image,
    counter: Counter,
    find_prompt: FindPrompt = lambda _: None,
) -> tuple[Finding, ...]:
    """Counts each look of each certificate again and compares the votes.

    By the f that the document names, every vote must be the same, except where its tau is above 0:
    then a sample may be ambiguous in one run alone. Another f may vote otherwise near a tie, so its
    counts are judged by their bounds. Samples on which hosts disagreed are ambiguous,
    as the document says.

    Args:
        result: the document.
        image: the prepared image, uint8 (3, H, W).
        counter: an engine with the model.
        find_prompt: the prompts that certificates name, by digest. Tuned prompts are frozen: they
            are used as they are, not tuned again.

    Raises:
        NotReproducible: another image than the certified one, or a prompt is not at hand.
    """
    require_certified(result, image)
    levels = list_levels(result)
    opened = counter.open(create_recount(result, levels, find_prompt), image)
    other_f = describe_f(result, opened)
    findings: dict[int, Finding] = {}
    for sigma_index, level in enumerate(levels.values()):
        ballots = [rested for rests in level.values() for rested in rests]
        again = {
            phase: _count(counter, sigma_index, phase, sizes, _find_doubted(result, level, phase))
            for phase, sizes in _sizes(ballots).items()
        }
        at = 0
        for place, rests in level.items():
            alpha = find_alpha(result.certificates[place])
            judging = _Judging(other_f=other_f, alpha=alpha, tau=result.provenance.tau or 0.0)
            findings[place] = _compare(place, rests, at, again, judging)
            at += len(rests)
    return (_compare_provenance(result, opened), *(findings[place] for place in sorted(findings)))


def _find_doubted(result: FinishedResult, level: Level, phase: Phase) -> list[frozenset[int]]:
    """For each ballot of a noise level, the samples that two hosts disagreed on."""
    return [
        find_doubted(result, place, phase, rested.name)
        for place, rests in level.items()
        for rested in rests
    ]


def _compare_provenance(result: FinishedResult, opened: protocol.SessionOpened) -> Finding:
    """Compares the f and the noise tables here with those of the document."""
    if opened.table_sha256 != result.provenance.table_sha256:
        return create_finding(
            None, holds=False, sentence="The noise tables here are not those the document names."
        )
    if (other_f := describe_f(result, opened)) is not None:
        sentence = f"Counted here by {other_f}: votes near a tie may differ."
        return create_finding(None, holds=True, sentence=sentence)
    return create_finding(None, holds=True, sentence="Same f, same noise tables.")


def _sizes(ballots: Sequence[Rested]) -> dict[Phase, list[int]]:
    """The lengths of the prefixes to count at one noise level, ascending, by phase."""
    sizes: dict[Phase, set[int]] = {}
    for rested in ballots:
        for recorded in rested.recorded:
            sizes.setdefault(recorded.phase, set()).add(recorded.tally.n)
    return {phase: sorted(ns) for phase, ns in sizes.items()}


def _count(
    counter: Counter,
    sigma_index: int,
    phase: Phase,
    sizes: list[int],
    doubted: Sequence[Collection[int]],
) -> dict[int, list[Recounted]]:
    """Counts each prefix. Returns the votes on each ballot, by length.

    `doubted` has the samples of each ballot that vote for nothing.
    """
    found: dict[int, list[Recounted]] = {}
    start, so_far = 0, [Recounted() for _ in doubted]
    for size in sizes:
        counter.count(
            protocol.CountRange(sigma_index=sigma_index, phase=phase, start=start, stop=size)
        )
        while start < size:
            counted = counter.receive()
            so_far = [
                one.continued(counted, place, doubted[place]) for place, one in enumerate(so_far)
            ]
            start = counted.stop
        found[size] = so_far
    return found


@dataclass(frozen=True, kw_only=True)
class _Judging:
    """How counts that differ are judged.

    Attributes:
        other_f: names the f that counted again, where it is not known to be the document's.
        alpha: error probability of one claim of the certificate.
        tau: that of the document; 0 where it names none.
    """

    other_f: str | None
    alpha: float
    tau: float

    def judge(self, recorded: Tally, again: Recounted) -> Judgement:
        """What the votes of one prefix, counted again, say of the recorded ones."""
        if again.tally is None or len(again.tally.counts) != len(recorded.counts):
            return Judgement(differing=recorded.n, plausible=False)
        if self.other_f is not None:
            return judge_counts(recorded, again.tally, alpha=self.alpha)
        ties = judge_ties(recorded, again.tally)
        return ties if self.tau > 0 else replace(ties, plausible=False)

    def may_swap(self, rested: Rested, last: Mapping[Phase, Recounted]) -> bool:
        """Whether votes may differ where counts are the same."""
        if self.other_f is not None:
            return True
        doubtful = any(one.tally.ambiguous for one in rested.recorded)
        again = any(one.tally is not None and one.tally.ambiguous for one in last.values())
        return self.tau > 0 and doubtful and again

    def conclude(self, differing: int, n: int) -> str:
        """The sentence where votes differ and that refutes nothing."""
        if self.other_f is not None:
            return (
                f"Counted again by {self.other_f}: at least {differing} of {n} votes differ, and "
                "every count lies within the bounds of those here."
            )
        return (
            f"Counted again by the same f: at least {differing} of {n} votes differ, each of a "
            "sample so near to a tie that it is ambiguous in one of the two runs."
        )


def _compare(
    place: int,
    rests: Sequence[Rested],
    at: int,
    found: Mapping[Phase, Mapping[int, list[Recounted]]],
    judging: _Judging,
) -> Finding:
    """Compares one certificate with its ballots counted again, which begin at place `at`."""
    differing, n = 0, 0
    for i, rested in enumerate(rests, start=at):
        last: dict[Phase, Recounted] = {}
        for recorded in rested.recorded:
            again = found[recorded.phase][recorded.tally.n][i]
            last[recorded.phase] = again
            if again.tally != recorded.tally:
                judged = judging.judge(recorded.tally, again)
                if not judged.plausible:
                    return _differs(place, rested, recorded, again)
                differing, n = max((differing, n), (judged.differing, recorded.tally.n))
        if {phase: again.tree.root for phase, again in last.items()} != rested.roots:
            if not differing and not judging.may_swap(rested, last):
                sentence = "The counts are the same, but not all votes: Merkle roots differ."
                return create_finding(place, holds=False, sentence=sentence)
            differing, n = max((differing, n), (1, rested.last("estimation")))
    if differing:
        return create_finding(place, holds=True, sentence=judging.conclude(differing, n))
    sentence = "Counted again with the same noise, every single vote is the same."
    return create_finding(place, holds=True, sentence=sentence)


def _differs(place: int, rested: Rested, recorded: Recorded, again: Recounted) -> Finding:
    sentence = (
        f"{recorded.phase} at {recorded.tally.n} samples ({rested.name}): the document says "
        f"{list(recorded.tally.counts)}, counted again {list(_counts(again))}."
    )
    return create_finding(place, holds=False, sentence=sentence)


def _counts(again: Recounted) -> tuple[int, ...]:
    return () if again.tally is None else again.tally.counts
