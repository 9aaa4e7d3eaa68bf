"""GET /capacity."""

from fastapi import APIRouter

from app.server.access.caller import Reader
from app.server.access.priorities import list_allowed
from app.server.answers import problems
from app.server.answers.capacity import Capacity
from app.server.jobs.capacity.room import find_capacity
from app.server.jobs.evaluations.needs import find_reserved
from app.server.routes.dependencies import ServicesDep

router = APIRouter(tags=["health"])


@router.get("/capacity", responses=problems.describe(problems.QueueUnavailable))
def get_capacity(services: ServicesDep, caller: Reader) -> Capacity:
    """What could be taken now, and the expected wait, by model and priority."""
    settings, catalogue = services.settings, services.catalogue
    return find_capacity(
        services.redis,
        settings,
        catalogue,
        list_allowed(caller),
        reserved=find_reserved(settings.evaluations, catalogue).redis,
    )
