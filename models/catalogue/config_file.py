"""An architecture as a file of the model states it; no torch."""

import json
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pydantic import ValidationError

from models.catalogue.cards import Card
from models.catalogue.weights import ConfigMismatch, UnreadableWeights
from models.files.untrusted_text import one_line, parse_json


class ConfigFile(Card):
    """The base of architectures that lie beside the weights in a file of their own."""

    FILE: ClassVar[str]
    """The file's name."""

    def dump(self) -> bytes:
        """Returns the content of the file."""
        return (json.dumps(self.model_dump(mode="json"), indent=1) + "\n").encode()

    @classmethod
    def parse(cls, content: bytes) -> Self:
        """Returns the architecture in a file's content.

        Raises:
            UnreadableWeights: the content is not JSON, or a field is unknown or out of range.
        """
        try:
            return cls.model_validate(parse_json(content))
        except ValueError as error:
            raise UnreadableWeights(cls.FILE, one_line(error)) from error

    @classmethod
    def translate(cls, name: str, fields: Mapping[str, Any]) -> Self:
        """Returns the architecture with fields of somebody else's file, which messages call `name`.

        Raises:
            ConfigMismatch: a value is not one that this architecture has here.
        """
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            first = error.errors()[0]
            raise ConfigMismatch(
                f"{name}: {'.'.join(map(str, first['loc'])) or 'its parts'}",
                expected=first["msg"],
                found=repr(first["input"])[:60],
            ) from error


def choose_known(
    name: str, config: Mapping[str, Any], part: str, kind: type[Card]
) -> dict[str, Any]:
    """Returns the fields of one part of somebody else's file that `kind` has.

    Raises:
        ConfigMismatch: the part is not an object.
    """
    said = config.get(part, {})
    if not isinstance(said, Mapping):
        raise ConfigMismatch(f"{name}: {part}", expected="an object", found=repr(said)[:40])
    return {key: said[key] for key in kind.model_fields if key in said}
