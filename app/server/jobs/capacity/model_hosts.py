"""Which worker hosts report that they can certify with a model."""

from collections.abc import Iterable

from redis import Redis

from app.server.answers.problems import ModelUnavailable, ModelUnknown
from app.server.answers.schemas import ModelOnHost
from models.catalogue import (
    Catalogue,
    ModelNotAdded,
    ModelNotValid,
    ModelRetired,
    UnknownModel,
)
from models.catalogue.cards import ModelCard
from worker.contract import ModelState, WorkerReport
from worker.store import hosts


def require_host(redis: Redis, card: ModelCard) -> None:
    """Passes unless every worker host reports that it cannot serve the model.

    A host that is starting reports nothing. With such a host, or with no host at all, the queue
    keeps the job.

    Raises:
        ModelUnavailable: the job would fail on every host.
    """
    reports = hosts.list_workers(redis)
    if not reports or any(may_serve(report, card) for report in reports):
        return
    found = [state for report in reports if (state := find_state(report, card))]
    reasons = dict.fromkeys(reason for state in found if (reason := _explain(state)))
    why = "; ".join(reasons) or "none of them knows this model"
    raise ModelUnavailable(f"No worker host can certify with this model: {why}.")


def may_serve(report: WorkerReport, card: ModelCard) -> bool:
    """Whether a job could succeed on this host."""
    if not report.ready or report.states is None:
        return True
    return can_serve(report, card)


def can_serve(report: WorkerReport, card: ModelCard) -> bool:
    """Whether a host reports that it can vote with the model, at once or after loading it."""
    if not report.ready:
        return False
    state = find_state(report, card)
    if state is not None:
        return state.can_serve
    return any(held.model.sha256 == card.sha256 for held in report.models)


def find_state(report: WorkerReport, card: ModelCard) -> ModelState | None:
    """A host's report on a model, found by the model's digest."""
    states = report.states or ()
    return next((state for state in states if state.model.sha256 == card.sha256), None)


def list_hosts(reports: Iterable[WorkerReport], card: ModelCard) -> tuple[ModelOnHost, ...]:
    """What each ready host reports about a model."""
    return tuple(
        ModelOnHost(name=report.name, **state.model_dump(exclude={"model"}))
        for report in reports
        if report.ready and (state := find_state(report, card)) is not None
    )


def list_ready(reports: Iterable[WorkerReport], card: ModelCard) -> tuple[str, ...]:
    """The hosts on which the model is loaded."""
    return tuple(
        report.name
        for report in reports
        if report.ready and any(held.model.sha256 == card.sha256 for held in report.models)
    )


def _explain(state: ModelState) -> str:
    if state.missing_files:
        return f"missing: {', '.join(state.missing_files)}"
    return state.detail.rstrip(".")


def require_card(catalogue: Catalogue, model_id: str) -> ModelCard:
    """The card of a model, or the problem that there is none."""
    try:
        return catalogue.get(model_id)
    except UnknownModel as unknown:
        known = tuple(card.id for card in catalogue.list())
        text = f"There is no model with this id. Known ids: {', '.join(known) or 'none'}."
        if isinstance(unknown, ModelNotAdded | ModelRetired):
            text = str(unknown)
        if isinstance(unknown, ModelNotValid):
            text = f"The model {model_id!r} is not served: its card on this host is not valid."
        raise ModelUnknown(text, known=known) from None
