"""What is wrong with a setting, as the sentence that whoever wrote it is shown."""

import re

from pydantic import ValidationError
from pydantic_settings import SettingsError

SETTINGS_ERRORS = (ValidationError, SettingsError)
"""What making settings raises where the environment does not allow them."""


def explain_settings(error: ValidationError | SettingsError) -> str:
    """Every setting that is not usable, by its name in the environment, and what was expected.

    What was given is not repeated: a `REDIS_URL` may hold a password.
    """
    if isinstance(error, ValidationError):
        return "; ".join(_explain(each["loc"], each["msg"]) for each in error.errors())
    found = re.search(r'field "(\w+)"', str(error))
    # The one way in which a source itself fails: a list that is no JSON.
    expected = 'expected a list in JSON, for example ["one", "two"]'
    return _explain((found[1],) if found else (), expected)


def _explain(place: tuple[int | str, ...], sentence: str) -> str:
    sentence = sentence.removeprefix("Value error, ")
    if not place:
        return sentence
    name = str(place[0])
    name = name if name.isupper() else f"PROMPTSMOOTH_{name.upper()}"
    return f"{name}: {sentence}"
