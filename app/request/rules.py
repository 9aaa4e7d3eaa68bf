"""The rule of each field of a request, as data, and the error that quotes it."""

from collections.abc import Iterable, Mapping
from operator import itemgetter
from typing import Self

from pydantic import BaseModel


class Described(str):
    """The description of a field: its rule, then what the field means.

    The whole text is published. `rule` by itself follows the word "expected" in a refusal.
    """

    rule: str
    meaning: str

    def __new__(cls, rule: str, meaning: str = "") -> Self:
        described = super().__new__(cls, f"{rule}. {meaning}".rstrip())
        described.rule, described.meaning = rule, meaning
        return described

    def __getnewargs__(self) -> tuple[str, str]:  # type: ignore[override]  # str has one part
        return self.rule, self.meaning  # for copies, which pydantic makes


class FieldInvalid(ValueError):
    """A field of a request is not what was expected. What came is never repeated."""

    def __init__(self, field: str, expected: str) -> None:
        super().__init__(f"{field}: expected {expected}.")
        self.field, self.expected = field, expected


def get_rules(form: type[BaseModel]) -> dict[str, str]:
    """The rule of each field of a form."""
    return {
        name: field.description.rule
        for name, field in form.model_fields.items()
        if isinstance(field.description, Described)
    }


def check_not_empty(items: Iterable[tuple[str, object]], rules: Mapping[str, str]) -> None:
    """Refuses an empty text: nobody can tell whether it was meant or forgotten.

    Raises:
        FieldInvalid: a value is empty, or one of several is.
    """
    for name, value in sorted(items, key=itemgetter(0)):
        if "" in (value if isinstance(value, list) else [value]):
            raise FieldInvalid(name, f"no empty value, but {rules[name]}")
