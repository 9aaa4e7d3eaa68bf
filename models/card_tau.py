"""Writes a measured tau into a card's file and leaves the rest of its text as it is."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

from models.cards import DeviceClass, InvalidCard, ModelCard, load_card, parse_card
from models.whole_file import replace_whole

_INLINE = re.compile(r"^tau[ \t]*=[ \t]*\{[^{}]*\}", re.MULTILINE)
_TABLE = re.compile(r"^\[tau\][^\n]*\n", re.MULTILINE)
_NEIGHBOUR = re.compile(r"^(?:batch_size|precision)[ \t]*=[ \t]*\{[^{}]*\}[^\n]*\n", re.MULTILINE)


def format_tau(tau: Mapping[DeviceClass, float]) -> str:
    """The line of a card that says tau of each device class it names."""
    return f"tau = {{ {', '.join(f'{name} = {value!r}' for name, value in sorted(tau.items()))} }}"


def replace_tau(text: str, device_class: DeviceClass, tau: float) -> str:
    """A card's text with this tau for one device class; nothing else that it says is changed.

    Raises:
        ValueError: tau is written in a way that cannot be edited, or is no threshold.
    """
    before = tomllib.loads(text)
    wanted: dict[DeviceClass, float] = {**before.get("tau", {}), device_class: float(tau)}
    for edited in _edits(text, device_class, wanted):
        if _parses_to(edited, {**before, "tau": wanted}):
            parse_card(edited)
            return edited
    raise ValueError(f"tau in the card is not written as a table; write: {format_tau(wanted)}")


def _edits(
    text: str, device_class: DeviceClass, wanted: Mapping[DeviceClass, float]
) -> Iterator[str]:
    """Where the line may belong, the tidiest place first; the caller checks what each says."""
    line = format_tau(wanted)
    if found := _INLINE.search(text):
        yield text[: found.start()] + line + text[found.end() :]
    if found := _TABLE.search(text):
        head, tail = text[: found.end()], text[found.end() :]
        entry = f"{device_class} = {wanted[device_class]!r}"
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


def write_tau(path: Path, device_class: DeviceClass, tau: float) -> ModelCard:
    """Puts tau into a card's file, which is replaced as a whole or not at all; returns the card.

    Raises:
        InvalidCard: the file is no valid card, or its tau cannot be edited.
    """
    load_card(path)
    try:
        text = replace_tau(path.read_bytes().decode(), device_class, tau)
    except ValueError as error:
        raise InvalidCard(path, str(error)) from error
    with replace_whole(path) as begun:
        begun.write_bytes(text.encode())
        begun.chmod(path.stat().st_mode & 0o777)
    return load_card(path)
