"""POST /preview."""

from functools import partial
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Form

from app import errors
from app.deps import ServicesDep, take_only
from app.preview_forms import REPEATABLE, RULES, PreviewForm
from app.preview_schemas import Preview, preview_view
from app.security import Submitter
from app.submission import find_card
from app.window_field import read_window
from models.imaging import ImageError

router = APIRouter(tags=["certify"])

PICTURE_SIDE = 512
_PROBLEMS = errors.describe(
    errors.FormUnreadable,
    errors.BodyTooLarge,
    errors.MediaTypeUnsupported,
    errors.RequestInvalid,
    errors.FieldUnknown,
    errors.FieldRepeated,
    errors.ModelUnknown,
    errors.ImageRefused,
    errors.DecodingUnavailable,
)


@router.post("/preview", responses=_PROBLEMS, dependencies=[take_only(RULES, REPEATABLE)])
async def preview(
    form: Annotated[PreviewForm, Form(media_type="multipart/form-data")],
    services: ServicesDep,
    _: Submitter,
) -> Preview:
    """Shows an image as it would be certified; nothing is queued and nothing is kept."""
    card = find_card(services.catalogue, form.model or services.settings.default_model)
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
        raise errors.ImageRefused(error, index=0, count=1) from None
    return await to_thread.run_sync(preview_view, prepared)
