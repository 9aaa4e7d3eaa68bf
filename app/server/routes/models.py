"""The models of this installation."""

from fastapi import APIRouter, Response

from app.server.access.caller import Reader
from app.server.answers import problems
from app.server.answers.etag import NOT_MODIFIED, IfNoneMatch, answer_json
from app.server.answers.schemas import KnownModel, ModelList, ModelNotUsable, ModelView, model_view
from app.server.jobs.capacity.model_hosts import list_hosts, list_ready
from app.server.routes.dependencies import ServicesDep
from models.catalogue import UnknownModel
from models.catalogue.cards import ModelCard, ModelDescription
from worker.contract import WorkerReport
from worker.store import hosts

router = APIRouter(prefix="/models", tags=["models"])


@router.get(
    "",
    response_model=ModelList,
    responses={**NOT_MODIFIED, **problems.describe(problems.QueueUnavailable)},
)
def list_models(services: ServicesDep, _: Reader, if_none_match: IfNoneMatch = None) -> Response:
    """All models of this installation, and what each worker host says of them."""
    reports, default = hosts.list_workers(services.redis), services.settings.default_model
    shown = ModelList(
        models=tuple(_view(card, reports, default) for card in services.catalogue.list()),
        not_added=tuple(map(_known, services.catalogue.list_not_added())),
        not_valid=tuple(map(_not_valid, sorted(services.catalogue.invalid))),
    )
    return answer_json(shown, if_none_match)


@router.get(
    "/{model_id}",
    response_model=ModelView,
    responses={
        **NOT_MODIFIED,
        **problems.describe(problems.ModelNotFound, problems.QueueUnavailable),
    },
)
def get_model(
    model_id: str, services: ServicesDep, _: Reader, if_none_match: IfNoneMatch = None
) -> Response:
    """One model: its card's facts, and what each worker host says of it."""
    try:
        card = services.catalogue.get(model_id)
    except UnknownModel:
        raise problems.ModelNotFound from None
    reports = hosts.list_workers(services.redis)
    return answer_json(_view(card, reports, services.settings.default_model), if_none_match)


def _view(card: ModelCard, reports: tuple[WorkerReport, ...], default: str) -> ModelView:
    return model_view(
        card,
        default=card.id == default,
        ready_on=list_ready(reports, card),
        hosts=list_hosts(reports, card),
    )


def _known(description: ModelDescription) -> KnownModel:
    facts = {name: getattr(description, name) for name in KnownModel.model_fields}
    return KnownModel(**facts)


def _not_valid(model_id: str) -> ModelNotUsable:
    """Leaves out the reason, which names paths on this host; logs and `models list` have it."""
    detail = "Its card on this host is not valid; promptsmooth models list says why."
    return ModelNotUsable(id=model_id, detail=detail)
