"""POST /preview."""

from functools import partial
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Form

from app.request.numbers import read_window
from app.server.access.caller import Submitter
from app.server.answers import problems
from app.server.answers.preview import Preview, preview_view
from app.server.forms.items import take_only
from app.server.forms.multipart import FormRoute
from app.server.forms.preview import REPEATABLE, RULES, PreviewForm
from app.server.jobs.capacity.model_hosts import require_card
from app.server.routes.dependencies import ServicesDep
from models.imaging import ImageError

router = APIRouter(tags=["certify"], route_class=FormRoute)

PICTURE_SIDE = 512
_PROBLEMS = problems.describe(
    problems.FormUnreadable,
    *problems.OF_A_BODY,
    problems.ModelUnknown,
    problems.ImageRefused,
    problems.DecodingUnavailable,
)


@router.post("/preview", responses=_PROBLEMS, dependencies=[take_only(RULES, REPEATABLE)])
async def preview(
    form: Annotated[PreviewForm, Form(media_type="multipart/form-data")],
    services: ServicesDep,
    _: Submitter,
) -> Preview:
    """Shows an image as it would be certified; nothing is queued and nothing is kept."""
    card = require_card(services.catalogue, form.model or services.settings.default_model)
    data = await form.image.read()
    look = partial(
        services.decoder.prepare,
        data,
        card.preprocessing,
        frame=form.frame,
        window=read_window(form.window),
        picture_side=PICTURE_SIDE,
    )
    try:
        prepared = await to_thread.run_sync(look, limiter=services.decoding)
    except ImageError as error:
        raise problems.ImageRefused(error, index=0, count=1) from None
    return await to_thread.run_sync(preview_view, prepared)
