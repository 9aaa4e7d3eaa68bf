"""Makes the certificate document from counted votes. Rounding never overstates a figure."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from worker.certification import (
    Abstained,
    Certified,
    Contest,
    Looks,
    Outcome,
    Phase,
    Procedure,
    Routed,
    Staged,
    StopReason,
    Tally,
    bound_rounded_down,
    bound_rounded_up,
    reading_aids,
    rounded_down,
)
from worker.contract import (
    CertifyRequest,
    FewShotTarget,
    FewShotZeroShotTarget,
    PromptRef,
    RoutedTarget,
    StagedParameters,
    Target,
    TemplateTarget,
    TunedTarget,
    ZeroShotTarget,
)
from worker.contract.attempt import Attempt
from worker.contract.certificate import document
from worker.contract.certificate.statement import create_statement
from worker.contract.protocol import TunedPrompt
from worker.counting.sessions import list_named


@dataclass(frozen=True, kw_only=True)
class Counted:
    """The votes of one certificate, and what decides on them.

    Attributes:
        contest: the contest over the certificate's ballots.
        looks: the looks made at each ballot.
        roots: the Merkle roots over the votes on each ballot.
    """

    contest: Contest
    looks: Sequence[Looks]
    roots: Sequence[Mapping[Phase, str]]


def create_certificate(
    request: CertifyRequest,
    sigma_index: int,
    target_index: int,
    *,
    counted: Counted,
    attempt: Attempt,
    tuned: TunedPrompt | None = None,
    learned: Collection[str] = (),
) -> document.CertifiedDocument | document.AbstainedDocument:
    """The document that states what the looks prove.

    `tuned` is the prompt tuned for this certificate, if the target asks for one. `learned` has the
    digests of the prompts that were learned on this very image.
    """
    target, sigma = request.targets[target_index], request.sigmas[sigma_index]
    judged = _judge(request, target, counted, float(sigma))
    prompting = _prompting(target, tuned) | judged.routing
    knows_image = any(ref.sha256 in learned for ref in list_named(target))
    fields = {
        **prompting,
        "class_names": target.class_names,
        "sigma": sigma,
        "alpha": request.alpha,
        "joint": request.joint,
        "certificates_in_request": request.certificates_asked,
        "n_used": judged.n_used,
        "p_a_lower": bound_rounded_down(judged.outcome.p_a_lower),
        "p_b_upper": bound_rounded_up(judged.outcome.p_b_upper),
        "votes_root": dict(judged.roots),
        "learned_on_this_image": knows_image or None,
        "guarantee_scope": document.find_scope(
            target.prompting, prompting.get("prompt"), learned=knows_image
        ),
        "attempts": attempt.number,
        "alpha_of_attempts": attempt.alpha_sum,
        "statement": "",
        **judged.evidence,
    }
    made = _create(request, target, judged.outcome, fields)
    return made.model_copy(update={"statement": create_statement(made, request.input)})


def _create(
    request: CertifyRequest, target: Target, outcome: Outcome, fields: dict[str, Any]
) -> document.CertifiedDocument | document.AbstainedDocument:
    staged = isinstance(request.procedure, StagedParameters)
    if isinstance(outcome, Abstained):
        fields |= {
            "closest_class": target.class_names[outcome.top_class],
            "closest_class_index": outcome.top_class,
        }
        return (
            document.AbstainedByStaged(**fields) if staged else document.AbstainedByCohen(**fields)
        )
    fields |= _claimed(request, target, outcome)
    return document.CertifiedByStaged(**fields) if staged else document.CertifiedByCohen(**fields)


@dataclass(frozen=True, kw_only=True)
class _Judged:
    """The outcome, and its evidence as fields of the document."""

    outcome: Outcome
    n_used: int
    roots: Mapping[Phase, str]
    evidence: dict[str, Any]
    routing: dict[str, Any]


def _judge(request: CertifyRequest, target: Target, counted: Counted, sigma: float) -> _Judged:
    contest = counted.contest
    if isinstance(contest, Routed):
        assert isinstance(target, RoutedTarget)
        return _judge_routed(request, target, contest, counted, sigma)
    (looks,), (roots,) = counted.looks, counted.roots
    return _Judged(
        outcome=contest.procedure.decide(looks, sigma=sigma),
        n_used=_used(looks),
        roots=roots,
        evidence=_evidence(request, contest.procedure, looks, sigma),
        routing={},
    )


def _judge_routed(
    request: CertifyRequest, target: RoutedTarget, contest: Routed, counted: Counted, sigma: float
) -> _Judged:
    found = contest.decide(counted.looks, sigma=sigma)
    selected = found.selector.top_class
    looks = counted.looks[1 + selected]
    evidence = _evidence(request, contest.procedure, looks, sigma)
    if isinstance(found.selector, Abstained):
        evidence["stopped_by"] = StopReason.SELECTOR_ABSTAINED
    routing = document.Routing(
        bank=target.bank,
        selected_index=selected,
        selector=_selector(contest.procedure, counted, found.selector, sigma),
    )
    return _Judged(
        outcome=found.outcome,
        n_used=max(_used(looks), _used(counted.looks[0])),  # one noise, two ballots on it
        roots=counted.roots[1 + selected],
        evidence=evidence,
        routing={"routing": routing},
    )


def _selector(
    procedure: Staged, counted: Counted, outcome: Outcome, sigma: float
) -> document.Selector:
    looks = counted.looks[0]
    certified = isinstance(outcome, Certified)
    reason = procedure.find_reason(looks, sigma=sigma)
    assert reason is not None, "the selector's looks have ended"
    return document.Selector(
        outcome="certified" if certified else "abstained",
        radius=rounded_down(outcome.radius) if isinstance(outcome, Certified) else None,
        p_a_lower=bound_rounded_down(outcome.p_a_lower),
        p_b_upper=bound_rounded_up(outcome.p_b_upper),
        looks=_look_counts(looks["estimation"]),
        stopped_by=reason,
        contradiction=procedure.alarms(looks, sigma=sigma),
        votes_root=dict(counted.roots[0]),
    )


def _used(looks: Looks) -> int:
    return sum(made[-1].n for made in looks.values() if made)


def _prompting(target: Target, tuned: TunedPrompt | None) -> dict[str, Any]:
    """The fields of the document that name the prompt."""
    fields: dict[str, Any] = {"prompting": target.prompting}
    match target:
        case TemplateTarget(template=template):
            return fields | {"template": template}
        case FewShotTarget(prompt=prompt):
            return fields | {"prompt": prompt}
        case ZeroShotTarget(template=template):
            return fields | {"template": template} | _tuned(target, tuned)
        case FewShotZeroShotTarget(prompt=prompt):
            return fields | {"started_from": prompt} | _tuned(target, tuned)
        case RoutedTarget():
            return fields


def _tuned(target: TunedTarget, tuned: TunedPrompt | None) -> dict[str, Any]:
    assert tuned is not None, "its prompt was tuned before it was certified"
    adaptation = document.Adaptation(
        **target.tuning.model_dump(),
        entropy_before=tuned.entropy_before,
        entropy_after=tuned.entropy_after,
        seconds=tuned.seconds,
    )
    return {"prompt": create_tuned_ref(target, tuned), "adaptation": adaptation}


def create_tuned_ref(target: TunedTarget, tuned: TunedPrompt) -> PromptRef:
    """Names a tuned prompt by its digest."""
    sha256 = tuned.prompt.sha256
    return PromptRef(id=f"zero-shot-{sha256[:16]}", sha256=sha256, method=target.prompting)


def _evidence(
    request: CertifyRequest, procedure: Procedure, looks: Looks, sigma: float
) -> dict[str, Any]:
    """The counts, and every parameter needed to compute the outcome from them."""
    asked = request.procedure
    if isinstance(procedure, Staged) and isinstance(asked, StagedParameters):
        return {
            **asked.model_dump(exclude={"procedure"}),
            "looks": _look_counts(looks["estimation"]),
            "stopped_by": procedure.find_reason(looks, sigma=sigma),
            "contradiction": procedure.alarms(looks, sigma=sigma),
        }
    (selection,), (estimation,) = looks["selection"], looks["estimation"]
    return {
        "n0": selection.n,
        "n": estimation.n,
        "counts_selection": selection.counts,
        "ambiguous_selection": selection.ambiguous,
        "counts_estimation": estimation.counts,
        "ambiguous": estimation.ambiguous,
    }


def _look_counts(made: Sequence[Tally]) -> tuple[document.LookCounts, ...]:
    return tuple(map(document.LookCounts.of, made))


def _claimed(request: CertifyRequest, target: Target, outcome: Certified) -> dict[str, Any]:
    aids = reading_aids(outcome.radius, dimension=3 * request.input.height * request.input.width)
    return {
        "prediction": target.class_names[outcome.top_class],
        "class_index": outcome.top_class,
        "radius": aids.radius,
        "radius_grey": aids.radius_grey,
        "norms": document.Norms(l1=aids.radius, linf=aids.linf),
        "grey_levels": document.GreyLevels(
            one_channel_of_one_pixel=aids.one_channel_levels,
            one_pixel=aids.one_pixel_levels,
            every_pixel=aids.every_pixel_levels,
        ),
    }
