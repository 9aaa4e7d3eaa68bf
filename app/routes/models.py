"""Which models there are."""

from fastapi import APIRouter

from app import errors
from app.deps import CatalogueDep, ServicesDep
from app.model_hosts import list_hosts, list_ready
from app.schemas import KnownModel, ModelList, ModelView, model_view
from app.security import Reader
from models.cards import ModelCard, ModelDescription
from models.catalogue import UnknownModel
from worker import fleet
from worker.contract import WorkerReport

router = APIRouter(prefix="/models", tags=["models"])


@router.get("", responses=errors.describe(errors.QueueUnavailable))
def list_models(services: ServicesDep, _: Reader) -> ModelList:
    """All models of this installation, and what each worker host says of them."""
    reports, default = fleet.list_workers(services.redis), services.settings.default_model
    return ModelList(
        models=tuple(_view(card, reports, default) for card in services.catalogue.list()),
        not_added=tuple(map(_known, services.catalogue.list_not_added())),
    )


@router.get("/{model_id}", responses=errors.describe(errors.ModelNotFound, errors.QueueUnavailable))
def get_model(
    model_id: str, services: ServicesDep, catalogue: CatalogueDep, _: Reader
) -> ModelView:
    """One model: its card's facts, and what each worker host says of it."""
    try:
        card = catalogue.get(model_id)
    except UnknownModel:
        raise errors.ModelNotFound from None
    return _view(card, fleet.list_workers(services.redis), services.settings.default_model)


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
