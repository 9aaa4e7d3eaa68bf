"""The multipart form of POST /preview."""

from typing import Annotated

from pydantic import Field

from app.request.numbers import PLAIN_WHOLE, WINDOW
from app.server.forms.prompts import File
from worker.contract import Contract

RULES = {
    "image": "one image file: PNG, JPEG, JPEG 2000, TIFF, WebP or DICOM",
    "model": "the id of a model, at most 64 characters",
    "frame": "an integer from 0 to the file's last frame",
    "window": '"auto", or centre and width separated by a comma, like 40,400',
}


class PreviewForm(Contract):
    """Which picture is looked at, and how. Fields that are not listed here are refused."""

    image: File = Field(description=f"{RULES['image']}. The content decides, not the name.")
    model: str | None = Field(
        default=None,
        max_length=64,
        description=f"{RULES['model']}. Its input is shown. Default: the service's default model; "
        "GET /models lists all.",
    )
    frame: Annotated[int, PLAIN_WHOLE] | None = Field(
        default=None,
        ge=0,
        le=1_000_000,
        description=f"{RULES['frame']}. Needed where there are several.",
    )
    window: str | None = Field(
        default=None,
        pattern=WINDOW,
        description=f"{RULES['window']}. Default: what the file says, else chosen from its grey "
        "values; the answer tells.",
    )


REPEATABLE = frozenset[str]()
