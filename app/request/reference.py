"""A reference of the user's own: kept with the job, and no part of the request.

It may name a patient. So it is in no log, no error, no key and no digest but that of an idempotent
request, and it changes no certificate.
"""

from typing import Annotated

from pydantic import AfterValidator, Field

from models.catalogue.names import clean_name, require_visible

MOST_CHARACTERS = 100
RULE = f"1 to {MOST_CHARACTERS} visible characters on one line"


def _check(text: str) -> str:
    cleaned = clean_name(require_visible(text))
    if not cleaned:
        raise ValueError("nothing to be seen")
    return cleaned


Reference = Annotated[str, Field(max_length=MOST_CHARACTERS), AfterValidator(_check)]
