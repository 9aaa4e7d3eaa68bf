"""POST /preview."""

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
from models.cards import ModelCard
from models.imaging import ImageError
from worker.intake import preview_image

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
    try:
        return await to_thread.run_sync(_look, data, card, form, limiter=services.decoding)
    except ImageError as error:
        raise errors.ImageRefused(error, index=0, count=1) from None


def _look(data: bytes, card: ModelCard, form: PreviewForm) -> Preview:
    prepared = preview_image(
        data, card, side=PICTURE_SIDE, frame=form.frame, window=read_window(form.window)
    )
    return preview_view(prepared)
