"""Whether certificates answer the question with yes: does the class hold up to the goal?"""

from collections.abc import Sequence
from decimal import Decimal

from pydantic import Field

from app.request.reach import Level, join_words, say_short
from app.request.wordings import group_wordings, name_wording
from worker.certification import Staged, StoppingRule
from worker.contract import Contract
from worker.contract.certificate.document import (
    AbstainedByStaged,
    CertificateDocument,
    CertifiedByStaged,
    CertifiedDocument,
    Length,
    find_alpha,
)

_Staged = CertifiedByStaged | AbstainedByStaged


class WordingGoal(Contract):
    """The answer under one wording."""

    shown: bool
    reason: str = Field(description="At which noise levels it holds, or what was in the way.")


class Goal(Contract):
    """The answer to the question whether the class holds up to `radius`.

    It is yes where a certificate has at least that radius and no other certificate claims another
    class of the same label set. "Not shown" says that nothing was proved; it is no proof of the
    opposite.
    """

    radius: Length
    shown: bool
    headline: str
    wordings: tuple[WordingGoal, ...] = Field(
        description="In the order in which the wordings come first among the certificates."
    )
    reached: tuple[bool, ...] = Field(
        description="For each certificate, whether its radius is at least that asked about."
    )


def find_goal(certificates: Sequence[CertificateDocument]) -> Goal | None:
    """The answer, or None where the request asked how far and named no `target_radius`."""
    first = certificates[0]
    radius = first.target_radius if isinstance(first, _Staged) else None
    if radius is None:
        return None
    wordings = tuple(_answer(group, radius) for group in group_wordings(certificates))
    contradictory = _contradict(certificates)
    return Goal(
        radius=radius,
        shown=any(each.shown for each in wordings) and not contradictory,
        headline=_write_headline(radius, wordings, contradictory=contradictory),
        wordings=wordings,
        reached=tuple(_reaches(each, radius) for each in certificates),
    )


def _contradict(certificates: Sequence[CertificateDocument]) -> bool:
    """Whether two of them claim different classes of one label set."""
    claims = {
        (frozenset(each.class_names), each.prediction)
        for each in certificates
        if isinstance(each, CertifiedDocument)
    }
    return len(claims) > len({label_set for label_set, _ in claims})


def _write_headline(
    radius: Decimal, wordings: Sequence[WordingGoal], *, contradictory: bool
) -> str:
    shown = sum(each.shown for each in wordings)
    if contradictory:
        return f"Not shown up to {radius:f}: the answers contradict one another"
    if not shown:
        return f"Not shown up to {radius:f}"
    if shown == len(wordings):
        return f"Yes, holds up to {radius:f}"
    return f"Yes with {shown} of {len(wordings)} wordings, holds up to {radius:f}"


def say_reasons(certificates: Sequence[CertificateDocument], goal: Goal) -> str:
    """The reasons of all wordings, each with its wording where there are several."""
    groups = group_wordings(certificates)
    if len(groups) == 1:
        return goal.wordings[0].reason
    pairs = zip(groups, goal.wordings, strict=True)
    return " ".join(f"{name_wording(group[0])}: {each.reason}" for group, each in pairs)


def _reaches(certificate: CertificateDocument, radius: Decimal) -> bool:
    return isinstance(certificate, CertifiedDocument) and certificate.radius >= radius


def _answer(certificates: Sequence[CertificateDocument], radius: Decimal) -> WordingGoal:
    claims = [each for each in certificates if isinstance(each, CertifiedDocument)]
    if len({claim.prediction for claim in claims}) > 1:
        reason = "The noise levels claim different classes, so none of them is the answer."
        return WordingGoal(shown=False, reason=reason)
    reached = [claim for claim in claims if claim.radius >= radius]
    if reached:
        where = join_words([f"{each.sigma:f}" for each in reached])
        return WordingGoal(shown=True, reason=f"{reached[0].prediction}, at sigma {where}.")
    return WordingGoal(shown=False, reason=" ".join(_say_obstacles(certificates, radius)))


def _say_obstacles(certificates: Sequence[CertificateDocument], radius: Decimal) -> list[str]:
    """Where the samples were too few, and where the votes were too divided."""
    staged = [each for each in certificates if isinstance(each, _Staged)]
    levels = [_create_level(each) for each in staged]
    short = say_short(radius, levels)
    divided = [
        f"{each.sigma:f}"
        for each, level in zip(staged, levels, strict=True)
        if level.largest >= radius
    ]
    words = f"At sigma {join_words(divided)} the votes were too divided." if divided else ""
    return list(filter(None, (words, short)))


def _create_level(certificate: _Staged) -> Level:
    """The certificate as it was before its votes."""
    routing = certificate.routing
    classes = len(certificate.class_names)
    staged = Staged(
        n_max=certificate.n_max,
        alpha=find_alpha(certificate),
        rule=StoppingRule(),
        n_cap=certificate.n_cap,
        continuations=certificate.continuations or 0,
    )
    options = (classes,) if routing is None else (classes, len(routing.bank))
    return Level(staged=staged, options=options, sigma=certificate.sigma)
