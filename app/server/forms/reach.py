"""The multipart form of POST /reach: the fields of a certification, before there is an image."""

from typing import Annotated

from pydantic import Field

from app.request.certify import RULES as FIELD_RULES
from app.request.certify import CertifyFields
from app.request.numbers import PLAIN_WHOLE
from app.server.forms import certify

RULES = {**FIELD_RULES, "images": "an integer from 1 to 10000"}


class ReachForm(CertifyFields):
    """What is to be asked of a certification. Fields that are not listed here are refused."""

    images: Annotated[int, PLAIN_WHOLE] = Field(
        default=1,
        ge=1,
        le=10_000,
        description=f"{RULES['images']}. How many are to be sent together: `joint` divides alpha "
        "among them.",
    )


REPEATABLE = certify.REPEATABLE - {"image"}
