"""POST /reach."""

from functools import partial
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Form

from app.request.certify import check_fields
from app.request.certify_request import create_request, resolve_targets
from app.server.access.caller import Submitter
from app.server.answers import problems
from app.server.answers.reach import Reach, show_reach
from app.server.forms.items import take_only
from app.server.forms.multipart import FormRoute
from app.server.forms.reach import REPEATABLE, RULES, ReachForm
from app.server.jobs.capacity.model_hosts import require_card
from app.server.routes.dependencies import ServicesDep
from worker.contract import ANY_IMAGE
from worker.store import prompts

router = APIRouter(tags=["certify"], route_class=FormRoute)

_PROBLEMS = problems.describe(
    problems.FormUnreadable,
    *problems.OF_A_BODY,
    problems.ModelUnknown,
    problems.QueueUnavailable,
)


@router.post("/reach", responses=_PROBLEMS, dependencies=[take_only(RULES, REPEATABLE)])
async def reach(
    form: Annotated[ReachForm, Form(media_type="multipart/form-data")],
    services: ServicesDep,
    caller: Submitter,
) -> Reach:
    """Says what the fields of a certification can prove at most; nothing is queued.

    The fields are those of `POST /certify`, without an image.
    """
    card = require_card(services.catalogue, form.model or services.settings.default_model)
    check_fields(form, services.settings.limits, images=form.images)
    find_card = partial(prompts.find_card, services.redis, view=caller.view)
    targets = await to_thread.run_sync(resolve_targets, form, card, find_card)
    request = create_request(form, card, targets, ANY_IMAGE, images=form.images)
    return await to_thread.run_sync(show_reach, request)
