"""Writes measured values (tau, what it covers, the batch shape) into a card's file.

The rest of the card's text is left unchanged.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from models.catalogue.cards import DeviceClass, InvalidCard, ModelCard, load_card, parse_card
from models.catalogue.catalogue import Catalogue
from models.files.whole_file import replace_whole

Measured = Literal["tau", "batch_size", "alike"]
Value = float | Sequence[str]

_NEIGHBOUR = re.compile(r"^(?:batch_size|precision)[ \t]*=[ \t]*\{[^{}]*\}[^\n]*\n", re.MULTILINE)


class ShippedCard(ValueError):
    """The card came with the service, so it is not the installation's to change."""

    def __init__(self, card: ModelCard, line: str) -> None:
        super().__init__(
            f"the card of {card.id!r} ships with the service and is left as it is. Put a copy with "
            f"an id of its own into the folder PROMPTSMOOTH_MODELS names, and this line: {line}"
        )


def format_line(name: Measured, values: Mapping[DeviceClass, Value]) -> str:
    """Returns the line of a card that states a value for each device class."""
    pairs = ", ".join(f"{device} = {_format(value)}" for device, value in sorted(values.items()))
    return f"{name} = {{ {pairs} }}"


def _format(value: Value) -> str:
    """A value as TOML writes it; the strings are digests."""
    return repr(value if isinstance(value, int | float) else list(value))


def replace_measured(text: str, name: Measured, device_class: DeviceClass, value: Value) -> str:
    """Returns a card's text with this value for one device class and everything else unchanged.

    Raises:
        ValueError: the card states the value in a form that cannot be edited, or the value is not
            valid in a card.
    """
    before = tomllib.loads(text)
    plain = value if isinstance(value, int | float) else list(value)
    wanted: dict[DeviceClass, Value] = {**before.get(name, {}), device_class: plain}
    for edited in _edits(text, name, device_class, wanted):
        if _parses_to(edited, {**before, name: wanted}):
            parse_card(edited)
            return edited
    line = format_line(name, wanted)
    raise ValueError(f"{name} in the card is not written as a table; write it as: {line}")


def _edits(
    text: str, name: Measured, device_class: DeviceClass, wanted: Mapping[DeviceClass, Value]
) -> Iterator[str]:
    """Yields edited texts, the tidiest first; the caller checks what each one parses to."""
    line = format_line(name, wanted)
    inline = re.compile(rf"^{name}[ \t]*=[ \t]*\{{[^{{}}]*\}}", re.MULTILINE)
    table = re.compile(rf"^\[{name}\][^\n]*\n", re.MULTILINE)
    if found := inline.search(text):
        yield text[: found.start()] + line + text[found.end() :]
    if found := table.search(text):
        head, tail = text[: found.end()], text[found.end() :]
        entry = f"{device_class} = {_format(wanted[device_class])}"
        yield head + re.sub(rf"(?m)^{device_class}[ \t]*=[ \t]*[^\s#]+", entry, tail, count=1)
        yield f"{head}{entry}\n{tail}"
    for found in _NEIGHBOUR.finditer(text):
        yield f"{text[: found.end()]}{line}\n{text[found.end() :]}"
    yield f"{line}\n{text}"


def _parses_to(text: str, expected: dict[str, object]) -> bool:
    try:
        return tomllib.loads(text) == expected
    except tomllib.TOMLDecodeError:
        return False


def write_own(
    catalogue: Catalogue, model_id: str, name: Measured, device_class: str, value: Value
) -> Path:
    """Writes the value into a model's own card; returns the card's file.

    Raises:
        ShippedCard: the card ships with the service.
        InvalidCard: the card's text cannot be edited.
    """
    where: DeviceClass = "cuda" if device_class == "cuda" else "cpu"
    card, path = catalogue.get(model_id), catalogue.find_own_card(model_id)
    if path is None:
        stated = {one: v for one, v in getattr(card, name).items() if v is not None}
        raise ShippedCard(card, format_line(name, {**stated, where: value}))
    write_measured(path, name, where, value)
    return path


def write_measured(
    path: Path, name: Measured, device_class: DeviceClass, value: Value
) -> ModelCard:
    """Writes the value into a card's file, which is replaced whole or not at all; returns the card.

    Raises:
        InvalidCard: the file is not a valid card or cannot be edited.
    """
    load_card(path)
    try:
        text = replace_measured(path.read_bytes().decode(), name, device_class, value)
    except ValueError as error:
        raise InvalidCard(path, str(error)) from error
    with replace_whole(path) as begun:
        begun.write_bytes(text.encode())
        begun.chmod(path.stat().st_mode & 0o777)
    return load_card(path)
