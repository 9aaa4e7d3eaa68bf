"""How a field of a request is refused: its name, and what was expected of it."""

from collections.abc import Iterable, Mapping
from operator import itemgetter


class FieldInvalid(ValueError):
    """A field of a request is not as its rule says. What came is never repeated."""

    def __init__(self, field: str, expected: str) -> None:
        super().__init__(f"{field}: expected {expected}.")
        self.field, self.expected = field, expected


def check_not_empty(items: Iterable[tuple[str, object]], rules: Mapping[str, str]) -> None:
    """Refuses an empty text: nobody can tell whether it was meant or forgotten.

    Raises:
        FieldInvalid: a value is empty, or one of several is.
    """
    for name, value in sorted(items, key=itemgetter(0)):
        if "" in (value if isinstance(value, list) else [value]):
            raise FieldInvalid(name, f"no empty value, but {rules[name]}")
