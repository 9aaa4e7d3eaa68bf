"""The multipart form of POST /certify: the fields of a request, and image files."""

from pydantic import Field

from app.request.certify import PARAMETERS, CertifyFields
from app.request.certify import RULES as FIELD_RULES
from app.server.forms.prompts import File

RULES = {
    **FIELD_RULES,
    "image": "one or more image files: PNG, JPEG, JPEG 2000, TIFF, WebP or DICOM",
}


class CertifyForm(CertifyFields):
    """What is asked of a certification. Fields that are not listed here are refused."""

    image: list[File] = Field(
        min_length=1,
        description=f"{RULES['image']}. The content decides, not the name. Several images become a "
        "batch; one that cannot be used does not keep the others out.",
    )


REPEATABLE = frozenset({"image", "sigma", "class_name", "prompting", "prompt", "reference"})
BOOLEANS = frozenset({"joint", "witness"})
NUMBERS = frozenset(
    {"sigma", "alpha", "attempt", "frame"} | {n for names in PARAMETERS.values() for n in names}
)
