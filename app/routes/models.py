"""Which models there are."""

from fastapi import APIRouter
from redis import Redis

from app import errors
from app.deps import CatalogueDep, RedisDep, ServicesDep
from app.schemas import ModelList, ModelView, model_view
from models.catalogue import UnknownModel
from worker import fleet

router = APIRouter(prefix="/models", tags=["models"])


@router.get("", responses=errors.describe(errors.QueueUnavailable))
def list_models(services: ServicesDep) -> ModelList:
    """All models of this installation, and the worker hosts ready with each."""
    ready = list_ready(services.redis)
    default = services.settings.default_model
    return ModelList(
        models=tuple(
            model_view(card, default=card.id == default, ready_on=ready.get(card.sha256, ()))
            for card in services.catalogue.list()
        )
    )


@router.get("/{model_id}", responses=errors.describe(errors.ModelNotFound, errors.QueueUnavailable))
def get_model(
    model_id: str, services: ServicesDep, catalogue: CatalogueDep, redis: RedisDep
) -> ModelView:
    """One model: its card's facts, and the worker hosts ready with it."""
    try:
        card = catalogue.get(model_id)
    except UnknownModel:
        raise errors.ModelNotFound from None
    default = card.id == services.settings.default_model
    return model_view(card, default=default, ready_on=list_ready(redis).get(card.sha256, ()))


def list_ready(redis: Redis) -> dict[str, tuple[str, ...]]:
    """The names of the hosts that are ready, by the digest of the weights they hold."""
    hosts: dict[str, tuple[str, ...]] = {}
    for report in fleet.list_workers(redis):
        for identity in report.models if report.ready else ():
            digest = identity.model.sha256
            hosts[digest] = (*hosts.get(digest, ()), report.name)
    return hosts
