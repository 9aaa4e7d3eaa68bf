"""Liveness, readiness and version."""

from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version

from fastapi import APIRouter

from app.server.access.caller import VisitorDep
from app.server.answers import problems
from app.server.answers.schemas import Alive, HostShown, Ready, Version, show_host
from app.server.jobs.capacity.model_hosts import can_serve
from app.server.jobs.services import Services
from app.server.routes.dependencies import OwnedRecordsDep, ServicesDep
from models.catalogue import UnknownModel
from worker.contract import SCHEMA_VERSION, WorkerReport
from worker.store import hosts as hosts_store
from worker.store.connection import find_write_fault

router = APIRouter(tags=["health"])


@router.get("/healthz", responses=problems.describe())
async def get_health() -> Alive:
    """The process answers. Touches nothing, so that a slow queue never restarts the app."""
    return Alive()


@router.get("/readyz", responses=problems.describe(problems.NotReady))
def get_readiness(services: ServicesDep, owned: OwnedRecordsDep, visitor: VisitorDep) -> Ready:
    """A request to the default model would be certified now; 503 names what is missing.

    A host that has to load the model first counts: it is asked to by the first request. Where there
    are keys, `workers` and `hosts` are shown to a key with the scope read alone.
    """
    try:
        reports = hosts_store.list_workers(services.redis)
        fault = find_write_fault(services.redis)
    except problems.QUEUE_AWAY:
        raise _not_ready("the queue: Redis does not answer") from None
    if fault is not None:
        raise _not_ready(f"the queue: {fault}")
    if (lost := owned.find_fault(services.redis)) is not None:
        raise _not_ready(f"the keys: {lost}")
    if (unwritten := services.audit.find_fault()) is not None:
        raise _not_ready(f"the audit log: {unwritten}")
    if not reports:
        raise _not_ready("a worker: no worker host has announced itself")
    ready = tuple(report.name for report in reports if _serves_default(services, report))
    default, known = services.settings.default_model, visitor.has("read")
    hosts = tuple(map(show_host, reports)) if known else ()
    if not ready:
        raise _not_ready(_explain(default, reports), hosts)
    return Ready(default_model=default, workers=ready if known else (), hosts=hosts)


@router.get("/version", responses=problems.describe())
async def get_version() -> Version:
    """Which release answers."""
    return Version(version=version("promptsmooth-service"), schema_version=SCHEMA_VERSION)


def _not_ready(missing: str, hosts: tuple[HostShown, ...] = ()) -> problems.NotReady:
    return problems.NotReady(f"Missing: {missing}.", missing=(missing,), hosts=hosts)


def _explain(default: str, reports: Sequence[WorkerReport]) -> str:
    """What is missing, told apart by what an operator would do about it."""
    if any(report.shown_state == "ready" for report in reports):
        return f"the model {default}: no worker host can certify with it"
    found = Counter(report.shown_state for report in reports)
    states = ", ".join(f"{number} {state}" for state, number in found.items())
    return f"a worker that takes jobs: of the worker hosts, {states}"


def _serves_default(services: Services, report: WorkerReport) -> bool:
    try:
        card = services.catalogue.get(services.settings.default_model)
    except UnknownModel:
        return False
    return can_serve(report, card)
