"""Explains what is wrong with a setting, to the person who set it."""

import re

from pydantic import ValidationError
from pydantic_settings import SettingsError

SETTINGS_ERRORS = (ValidationError, SettingsError)
"""The errors that creating settings raises if the environment holds unusable values."""


def explain_settings(error: ValidationError | SettingsError) -> str:
    """Names every unusable setting, as in the environment, and what was expected.

    The value is not repeated, because a `REDIS_URL` may hold a password.
    """
    if isinstance(error, ValidationError):
        return "; ".join(_explain(each["loc"], each["msg"]) for each in error.errors())
    found = re.search(r'field "(\w+)"', str(error))
    # A settings source itself fails only for a list that is not valid JSON.
    expected = 'expected a list in JSON, for example ["one", "two"]'
    return _explain((found[1],) if found else (), expected)


def _explain(place: tuple[int | str, ...], sentence: str) -> str:
    sentence = sentence.removeprefix("Value error, ")
    if not place:
        return sentence
    name = str(place[0])
    name = name if name.isupper() else f"PROMPTSMOOTH_{name.upper()}"
    return f"{name}: {sentence}"
